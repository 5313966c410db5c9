package recipe

import (
	"context"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// Group is a set of members. Each is an ephemeral znode in the directory Path.
type Group struct {
	Path   string
	ACL    zk.ACL // nil: zk.ACLOpen
	Layout Layout
}

// Join adds a member. Release of the Hold removes it. In Curator's layout its
// znode is Path/id, with the data. If another session has that znode, Join waits
// as Own does. In kazoo's layout the name is random, and the data is the id:
// members have no data of their own there.
func (g *Group) Join(ctx context.Context, s *zk.Session, id string, data []byte) (*Hold, error) {
	if err := checkDir(g.Path); err != nil {
		return nil, err
	}
	if err := checkName("id", id); err != nil {
		return nil, err
	}
	if g.Layout == Curator {
		return Own(ctx, s, join(g.Path, id), data, g.ACL)
	}
	if g.Layout != Kazoo {
		return nil, badArgument("unknown Layout %d", g.Layout)
	}
	guid := newGUID()
	o := &owned{path: join(g.Path, Kazoo.prefix(partyKind, guid)), data: []byte(id), acl: g.ACL}
	return o.acquire(ctx, s, placeKey{kind: partyKind, dir: g.Path, data: id}, guid)
}

// Members returns the data of all members by their ids, in both layouts. A
// missing directory has no members. Znodes that are not ephemeral do not count.
func (g *Group) Members(ctx context.Context, s *zk.Session) (map[string][]byte, error) {
	if err := checkDir(g.Path); err != nil {
		return nil, err
	}
	if _, err := begin(ctx, s); err != nil {
		return nil, err
	}
	members := map[string][]byte{}
	names, _, err := s.Children(ctx, g.Path, nil)
	if code(err) == zk.ErrNoNode || err == nil && len(names) == 0 {
		return members, nil
	}
	if err != nil {
		return nil, err
	}
	ops := make([]zk.Op, len(names))
	for i, name := range names {
		ops[i] = zk.GetOp{Path: join(g.Path, name)}
	}
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return nil, err
	}
	for i, r := range res {
		switch {
		case code(r.Err) == zk.ErrNoNode:
		case r.Err != nil:
			return nil, r.Err
		case r.Stat.EphemeralOwner != 0:
			members[memberID(names[i], r.Data)] = r.Data
		}
	}
	return members, nil
}

// memberID returns the id of a member. kazoo's Party has it in the data, and its
// ShallowParty behind a GUID in the name.
func memberID(name string, data []byte) string {
	if len(name) > 32 && checkGUID(name[:32]) == nil {
		if name[32:] == "__party__" {
			return string(data)
		}
		if id, ok := strings.CutPrefix(name[32:], "-"); ok {
			return id
		}
	}
	return name
}
