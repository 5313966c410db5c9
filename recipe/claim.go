package recipe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// claim is an ephemeral znode that this process makes in one session, or means
// to: a contender, a lease, a member. One goroutine at a time works with it.
type claim struct {
	session int64
	key     placeKey // of the call that made it
	dir     string
	prefix  string // of its name, with the GUID; the whole name where fixed
	fixed   bool   // no number follows
	stamp   bool   // a fixed name that others of this session may take: the data says whose
	stays   bool   // until the session ends, once it is made
	data    []byte
	guid    string

	path   string // empty: there is none, as far as answers say
	czxid  int64  // 0: not read yet, nor its owner
	unsure bool   // a create was sent, and its answer is missing
	late   bool   // such a create was not found, and may come late

	departs bool // counted in identity.departs, whose lock guards it

	own, ahead *watch // on the znode itself, and on the one before it
}

func newClaim(s *zk.Session, key placeKey, dir string, data []byte, layout Layout, k kind) *claim {
	guid := key.guid
	if guid == "" {
		guid = newGUID()
	}
	c := &claim{session: s.ID(), key: key, dir: dir, data: data}
	c.rename(guid, layout.prefix(k, guid))
	return c
}

func (c *claim) rename(guid, prefix string) {
	c.guid, c.prefix = guid, prefix
	c.path, c.czxid, c.unsure = "", 0, false
}

// forget notes that the znode is gone.
func (c *claim) forget() { c.path, c.czxid, c.unsure = "", 0, false }

// exists reports whether there is, or may be, a znode.
func (c *claim) exists() bool { return c.path != "" || c.unsure }

// dirs says how the directory of a claim is made when it is missing.
type dirs struct {
	acl  zk.ACL
	keep bool // persistent; else a container
	none bool // not at all
}

// create makes the znode, and does more in the same round trip. The error is
// that of the connection, or of the create; the results are those of more.
func (c *claim) create(ctx context.Context, s *zk.Session, id *identity, d dirs, more ...zk.Op) ([]zk.Result, error) {
	res, err := c.send(ctx, s, id, d, nil, more)
	for code(err) == zk.ErrNoNode && !d.none && c.dir != "/" {
		ops := id.mkdirs(c.dir, d)
		res, err = c.send(ctx, s, id, d, ops, more)
		if code(err) != zk.ErrNoNode {
			break
		}
		// The directory could not be made, or it is gone again.
		if err := firstFailure(res[:len(ops)]); err != nil {
			return nil, err
		}
	}
	return res[max(0, len(res)-len(more)):], err
}

// send sends what makes directories, the create, and more, and takes its answer.
func (c *claim) send(ctx context.Context, s *zk.Session, id *identity, d dirs, before []zk.Op, more []zk.Op) ([]zk.Result, error) {
	old, recent := id.servers()
	op := zk.CreateOp{
		Path: join(c.dir, c.prefix), Data: c.data, Mode: zk.EphemeralSequential, ACL: d.acl,
		WantStat: !old && (recent || !d.keep),
	}
	if c.fixed {
		op.Mode = zk.Ephemeral
	}
	ops := append(append(append([]zk.Op(nil), before...), op), more...)
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return nil, err // refused, or nothing was sent
	}
	for i := range before {
		if err := id.learn(res[i], before[i].(zk.CreateOp).Mode == zk.Container); err != nil {
			return nil, err
		}
	}
	made := res[len(before)]
	switch {
	case made.Err == nil:
		c.path, c.unsure = made.Path, false
		if op.WantStat && made.Stat.EphemeralOwner == c.session {
			c.czxid = made.Stat.Czxid
		}
	case errors.Is(made.Err, zk.ErrLost):
		c.unsure = true
	}
	if err := id.learn(made, op.WantStat); err != nil {
		return nil, err
	}
	return res, made.Err
}

// learn takes from the answer to a create that only servers since 3.5 support
// whether this one does. One that does not has ended the connection; from now on
// nothing like it is sent.
func (id *identity) learn(r zk.Result, recent bool) error {
	switch {
	case !recent:
	case r.Err == nil:
		id.noteRecent()
	case errors.Is(r.Err, zk.ErrUnimplemented):
		id.noteOld()
		return fmt.Errorf("recipe: a server of ZooKeeper 3.4 has ended the connection: %w", zk.ErrConnection)
	}
	return nil
}

// noop is a write that changes nothing: what was sent before it has been
// executed, but for what a server that stood still executes late; see late.go.
func (c *claim) noop() zk.Op {
	return zk.DeleteOp{Path: join(c.dir, "_c_"+c.guid), Version: zk.AnyVersion}
}

// mine returns the names among those that a create of this claim may have made.
func (c *claim) mine(names []string) (found []string) {
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, c.prefix); ok {
			if _, number := parseNumber(rest); number && !c.fixed || rest == "" && c.fixed {
				found = append(found, name)
			}
		}
	}
	return found
}

// recover finds out, with a new connection, what became of the znode. It adopts
// one only if it belongs to this session. Of several, which a create that turned
// up late can make, it keeps the oldest and deletes the others. It returns the
// names in the directory; nil where that is missing.
func (c *claim) recover(ctx context.Context, s *zk.Session) ([]string, error) {
	ops := []zk.Op{zk.SyncOp{Path: c.dir}, c.noop(), zk.ChildrenOp{Path: c.dir}}
	if !c.unsure && c.path != "" {
		ops = ops[2:]
	}
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return nil, err
	}
	list := res[len(res)-1]
	if code(list.Err) == zk.ErrNoNode {
		c.late = c.late || c.unsure
		c.forget()
		return nil, nil
	}
	if list.Err != nil {
		return nil, list.Err
	}
	return c.adopt(ctx, s, list.Children)
}

// adopt looks which of the names are this claim's znode; see recover.
func (c *claim) adopt(ctx context.Context, s *zk.Session, names []string) ([]string, error) {
	found := c.mine(names)
	stats, err := c.stats(ctx, s, found)
	if err != nil {
		return nil, err
	}
	unsure := c.unsure
	c.forget()
	foreign := false
	var surplus []zk.Op
	for i, name := range found {
		st := stats[i]
		switch {
		case st.Czxid == 0: // it went meanwhile
		case st.EphemeralOwner != c.session:
			foreign = true
		case c.path == "":
			c.path, c.czxid = join(c.dir, name), st.Czxid
		case st.Czxid < c.czxid:
			surplus = append(surplus, zk.DeleteOp{Path: c.path, Version: zk.AnyVersion})
			c.path, c.czxid = join(c.dir, name), st.Czxid
		default:
			surplus = append(surplus, zk.DeleteOp{Path: join(c.dir, name), Version: zk.AnyVersion})
		}
	}
	c.late = c.late || unsure && c.path == ""
	if c.path == "" && foreign { // somebody else has this GUID
		k := c.guid
		guid := newGUID()
		c.rename(guid, strings.NewReplacer(dashed(k), dashed(guid), k, guid).Replace(c.prefix))
	}
	if len(surplus) > 0 {
		if _, err := s.Batch(ctx, surplus...); err != nil && code(err) != zk.ErrNoNode {
			c.unsure = true // the others may be there yet
			return nil, err
		}
		return nil, errAgain
	}
	return names, nil
}

// errAgain says that a list is not worth anything any more.
var errAgain = errors.New("recipe: list again")

// stats reads the Stats of children; a zero one for those that are gone.
func (c *claim) stats(ctx context.Context, s *zk.Session, names []string) ([]zk.Stat, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ops := make([]zk.Op, len(names))
	for i, name := range names {
		ops[i] = zk.ExistsOp{Path: join(c.dir, name)}
	}
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return nil, err
	}
	stats := make([]zk.Stat, len(res))
	for i := range res {
		if res[i].Err != nil && code(res[i].Err) != zk.ErrNoNode {
			return nil, res[i].Err
		}
		stats[i] = res[i].Stat
	}
	return stats, nil
}
