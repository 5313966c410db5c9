package tree

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// Options say what Export, Import and Copy do.
type Options struct {
	// ACLs exports ACLs and sets them. Without it all created znodes have the list
	// ACL. An ACL that keeps the session itself from writing the znode, or from
	// creating its children, ends an Import with zk.ErrNoAuth, except for the
	// superuser.
	ACLs bool
	// ACL is the list of all znodes that are created without ACLs; nil:
	// zk.ACLOpen.
	ACL zk.ACL
	// Ephemerals exports ephemeral znodes too, which become persistent ones.
	Ephemerals bool

	// Overwrite sets the data of znodes that exist. Without it they are ErrExists.
	Overwrite bool
	// Mirror deletes znodes that the source does not have, ephemeral ones too. It needs
	// Overwrite.
	Mirror bool
	// Atomic is how many znodes one Multi writes, all or none of them. It needs
	// servers since 3.5. Zero: single operations, many at a time.
	Atomic int
}

func (o *Options) acl() zk.ACL {
	if o.ACL == nil {
		return zk.ACLOpen
	}
	return o.ACL
}

const exportVersion = 1

// header is the first line of an export.
type header struct {
	ZK       int    `json:"zk"`
	Root     string `json:"root"`
	Zxid     string `json:"zxid,omitempty"`
	Snapshot bool   `json:"snapshot"`
	Nodes    *int   `json:"nodes,omitempty"`
	Note     string `json:"note,omitempty"`
}

const exportNote = "versions, times and the counters of sequential names are not restored"

// record is each line after it.
type record struct {
	Path   *string     `json:"path"`
	Data   *string     `json:"data,omitempty"`
	Base64 *string     `json:"base64,omitempty"`
	ACL    []access    `json:"acl,omitempty"`
	Owner  string      `json:"owner,omitempty"`
	Mode   string      `json:"mode,omitempty"`
	TTL    int64       `json:"ttl,omitempty"` // ms
	Stat   *recordStat `json:"stat,omitempty"`
}

type access struct {
	Perms  string `json:"perms"`
	Scheme string `json:"scheme"`
	ID     string `json:"id"`
}

type recordStat struct {
	Version  int32 `json:"version"`
	Cversion int32 `json:"cversion"`
	Ctime    int64 `json:"ctime"`
	Mtime    int64 `json:"mtime"`
}

// Export writes a subtree as JSON, one object per line: a header, then the
// znodes, parents first. The package documentation has the format. The subtree is
// a Snapshot if the server supports that, else the result of Get. The header says
// which. All of it is in memory before the first line is written. After a lost
// connection call Export again, with an empty w.
//
// ACLs are read last. If one changes meanwhile, or a znode is deleted, the export
// is not a snapshot. Without PermAdmin a server masks the digests of an ACL: then
// Export returns zk.ErrNoAuth.
func Export(ctx context.Context, s *zk.Session, path string, w io.Writer, opt Options) error {
	var top *Node
	var zxid int64
	var err error
	snapshot := !lackOf(s).has(addWatch)
	if snapshot {
		top, zxid, err = Snapshot(ctx, s, path)
	} else {
		top, err = Get(ctx, s, path)
		zxid = s.Zxid()
	}
	if err != nil {
		return err
	}
	var nodes []*Node
	for n := range top.All() {
		if n.Stat.EphemeralOwner == 0 || opt.Ephemerals {
			nodes = append(nodes, n)
		}
	}
	acls := make([]zk.ACL, len(nodes))
	if opt.ACLs {
		exact := false
		if nodes, acls, exact, err = readACLs(ctx, s, nodes); err != nil {
			return err
		}
		snapshot = snapshot && exact
	}
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	count := len(nodes)
	if err := enc.Encode(header{exportVersion, path, hex(zxid), snapshot, &count, exportNote}); err != nil {
		return errors.WithMessage(err, "export")
	}
	for i, n := range nodes {
		if err := enc.Encode(newRecord(n, relative(n.Path, path), acls[i])); err != nil {
			return errors.WithMessage(err, "export")
		}
	}
	return errors.WithMessage(out.Flush(), "export")
}

func hex(n int64) string { return "0x" + strconv.FormatUint(uint64(n), 16) }

func newRecord(n *Node, rel string, acl zk.ACL) record {
	r := record{Path: &rel, Stat: &recordStat{n.Stat.Version, n.Stat.Cversion, n.Stat.Ctime, n.Stat.Mtime}}
	switch {
	case n.Data == nil:
	case isText(n.Data):
		text := string(n.Data)
		r.Data = &text
	default:
		text := base64.StdEncoding.EncodeToString(n.Data)
		r.Base64 = &text
	}
	if n.Stat.EphemeralOwner != 0 {
		r.Owner = hex(n.Stat.EphemeralOwner)
	}
	for _, a := range acl {
		r.ACL = append(r.ACL, access{permText(a.Perms), a.Scheme, a.ID})
	}
	return r
}

// permLetters are in the order of the format, which is not that of zkCli.
var permLetters = []struct {
	perm   zk.Permission
	letter byte
}{{zk.PermRead, 'r'}, {zk.PermWrite, 'w'}, {zk.PermCreate, 'c'}, {zk.PermDelete, 'd'}, {zk.PermAdmin, 'a'}}

func permText(p zk.Permission) string {
	var b []byte
	for _, l := range permLetters {
		if p&l.perm != 0 {
			b = append(b, l.letter)
		}
	}
	return string(b)
}

// readACLs returns the ACLs of nodes that still exist, and those nodes. exact: all
// do, and have the ACLs that they had when they were read.
func readACLs(ctx context.Context, s *zk.Session, nodes []*Node) (left []*Node, acls []zk.ACL, exact bool, err error) {
	exact = true
	i := -1
	b := newBatcher(s, func(_ zk.Op, res *zk.Result) error {
		i++
		n := nodes[i]
		switch {
		case errors.Is(res.Err, zk.ErrNoNode):
			exact = false
			return nil
		case res.Err != nil:
			return errors.WithStack(res.Err)
		case slices.ContainsFunc(res.ACL, masked):
			return errors.WithMessage(&zk.OpError{Op: "getacl", Path: n.Path, Err: zk.ErrNoAuth}, "masked digests")
		}
		exact = exact && res.Stat.Czxid == n.Stat.Czxid && res.Stat.Aversion == n.Stat.Aversion
		left, acls = append(left, n), append(acls, res.ACL)
		return nil
	})
	for _, n := range nodes {
		if err := b.add(ctx, zk.GetACLOp{Path: n.Path}, len(n.Path)); err != nil {
			return nil, nil, false, err
		}
	}
	return left, acls, exact, b.flush(ctx)
}

// masked reports whether a server has shown a digest to somebody without
// PermAdmin: as "user:x".
func masked(a zk.Access) bool { return a.Scheme == "digest" && strings.HasSuffix(a.ID, ":x") }
