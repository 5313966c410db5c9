package tree

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// LineError reports a wrong line in an export.
type LineError struct {
	Line   int // counted from 1
	Reason string
}

func (e *LineError) Error() string { return fmt.Sprintf("zk: import: line %d: %s", e.Line, e.Reason) }

// maxLine bounds a line of an export: no server takes nearly as much data.
const maxLine = 64 << 20

// Import creates the znodes of an export at and below path, parents first, and
// missing znodes above path. Versions, times and the counters of sequential
// names are not restored.
//
// It checks the header and the first znode before it writes anything. A wrong
// line further down ends it with a *LineError. Without Options.Overwrite a znode
// that exists ends it with zk.ErrExists and its path; "/" always exists. Znodes
// that were written before stay. After a lost connection call it again from the
// beginning of r, with Overwrite.
func Import(ctx context.Context, s *zk.Session, path string, r io.Reader, opt Options) error {
	l, err := newLoader("import", s, path, opt)
	if err != nil {
		return err
	}
	in := lines{r: bufio.NewReaderSize(r, 64<<10)}
	head, err := in.header()
	if err != nil {
		return err
	}
	ephemeral := make(map[string]bool) // of all paths so far
	for {
		rec, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		z, err := in.check(rec, s, path, ephemeral, opt.ACLs)
		if err != nil {
			return err
		}
		if err := l.put(ctx, z); err != nil {
			return err
		}
	}
	if n := len(ephemeral); n == 0 {
		return in.errorf("it has no znode")
	} else if head.Nodes != nil && *head.Nodes != n {
		return in.errorf("it has %d znodes, and should have %d: it is cut off", n, *head.Nodes)
	}
	return l.finish(ctx)
}

// lines reads an export.
type lines struct {
	r *bufio.Reader
	n int
}

func (in *lines) errorf(format string, args ...any) error {
	return &LineError{in.n, fmt.Sprintf(format, args...)}
}

// line returns the next line, or io.EOF after the last.
func (in *lines) line() ([]byte, error) {
	var line []byte
	in.n++
	for {
		part, err := in.r.ReadSlice('\n')
		switch {
		case err == nil && line == nil:
			return part, nil
		case err == nil:
			return append(line, part...), nil
		case err == io.EOF && len(line)+len(part) == 0:
			in.n--
			return nil, io.EOF
		case err == io.EOF:
			return nil, in.errorf("it does not end: the file is cut off")
		case err != bufio.ErrBufferFull:
			return nil, fmt.Errorf("import: line %d: %w", in.n, err)
		case len(line)+len(part) > maxLine:
			return nil, in.errorf("it is longer than %d bytes", maxLine)
		}
		line = append(line, part...)
	}
}

func (in *lines) decode(to any) error {
	line, err := in.line()
	if err != nil {
		return err
	}
	if line = bytes.TrimSpace(line); len(line) == 0 || line[0] != '{' {
		return in.errorf("it is not an object")
	}
	if err := json.Unmarshal(line, to); err != nil {
		return in.errorf("%v", err)
	}
	return nil
}

func (in *lines) header() (header, error) {
	var h header
	err := in.decode(&h)
	switch {
	case err == io.EOF:
		in.n = 1
		return h, in.errorf("the file is empty")
	case err != nil:
		return h, err
	case h.ZK == 0:
		return h, in.errorf("it is not the header of an export")
	case h.ZK != exportVersion:
		return h, in.errorf("version %d of the format is not known", h.ZK)
	}
	return h, nil
}

func (in *lines) next() (*record, error) {
	rec := new(record)
	if err := in.decode(rec); err != nil {
		return nil, err
	}
	return rec, nil
}

// znode is what a loader writes.
type znode struct {
	path      string
	data      []byte
	acl       zk.ACL // nil: the options'
	mode      zk.Mode
	ephemeral bool
}

// check makes a znode of a record, which must fit to the ones before.
func (in *lines) check(rec *record, s *zk.Session, root string, ephemeral map[string]bool, acls bool) (z znode, err error) {
	if rec.Path == nil {
		return z, in.errorf("it has no path")
	}
	rel := *rec.Path
	up := rel[:max(0, strings.LastIndexByte(rel, '/'))]
	_, twice := ephemeral[rel]
	below, known := ephemeral[up]
	switch {
	case rel == "" && len(ephemeral) > 0, twice:
		return z, in.errorf("%q comes again", rel)
	case rel != "" && len(ephemeral) == 0:
		return z, in.errorf("%q comes before the root of the export, which is \"\"", rel)
	case rel != "" && (rel[0] != '/' || rel == "/"):
		return z, in.errorf("%q is no path below the root, which begins with / and has a name", rel)
	case rel != "" && !known:
		return z, in.errorf("%q comes before its parent", rel)
	case rel != "" && below:
		return z, in.errorf("%q is below an ephemeral, which has no children", rel)
	}
	if rel != "" {
		if why := badPath(rel); why != "" {
			return z, in.errorf("%q is a bad path: %s", rel, why)
		}
	}
	z = znode{path: rebase(root, rel), ephemeral: rec.Owner != ""}
	if checkTarget("import", s, z.path) != nil {
		return z, in.errorf("%s is the server's own", z.path)
	}
	if rec.Owner != "" {
		if _, err := strconv.ParseUint(rec.Owner, 0, 64); err != nil {
			return z, in.errorf("%q is no owner", rec.Owner)
		}
	}
	if z.mode, err = parseMode(rec); err != nil {
		return z, in.errorf("%v", err)
	}
	switch {
	case rec.Data != nil && rec.Base64 != nil:
		return z, in.errorf("it has both data and base64")
	case rec.Data != nil:
		z.data = []byte(*rec.Data)
	case rec.Base64 != nil:
		if z.data, err = base64.StdEncoding.DecodeString(*rec.Base64); err != nil {
			return z, in.errorf("%v", err)
		}
	}
	if acls {
		if len(rec.ACL) == 0 {
			return z, in.errorf("it has no ACL")
		}
		for _, a := range rec.ACL {
			perms, err := zk.ParsePermission(a.Perms)
			if err != nil {
				return z, in.errorf("unknown permission in %q", a.Perms)
			}
			z.acl = append(z.acl, zk.Access{Perms: perms, Scheme: a.Scheme, ID: a.ID})
		}
	}
	ephemeral[rel] = z.ephemeral
	return z, nil
}

func parseMode(rec *record) (zk.Mode, error) {
	switch {
	case rec.Mode == "" && rec.TTL == 0:
		return zk.Persistent, nil
	case rec.Mode == "container" && rec.TTL == 0:
		return zk.Container, nil
	case rec.Mode == "ttl" && rec.TTL > 0 && rec.TTL <= 0xffffffffff:
		return zk.TTL(time.Duration(rec.TTL) * time.Millisecond), nil
	}
	return 0, fmt.Errorf("no such mode: %q with a TTL of %d ms", rec.Mode, rec.TTL)
}
