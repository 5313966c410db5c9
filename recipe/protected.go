package recipe

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// CreateProtected creates an ephemeral sequential znode whose name begins with a
// random GUID, as Curator's protected mode does, and returns its path: of
// "/jobs/job-" it makes "/jobs/_c_<UUID>-job-0000000007". A lost answer does not
// matter: after an error that matches zk.ErrConnection or zk.ErrMoved, call it
// again with the same arguments and the successor, and it returns the znode that
// was made, if it is this session's, or makes it now. If nobody does so within
// one session timeout, what was made is deleted; so it is after any other error.
// nil data is stored as null, a nil ACL is zk.ACLOpen, and the parent must exist.
func CreateProtected(ctx context.Context, s *zk.Session, path string, data []byte, acl zk.ACL) (string, error) {
	if path == "" || path[0] != '/' {
		return "", checkDir(path)
	}
	id, err := begin(ctx, s)
	if err != nil {
		return "", err
	}
	dir, name := split(path)
	key := placeKey{session: s.ID(), kind: plainKind, dir: fullPath(s, dir) + "/" + name, data: string(data)}
	c := id.take(key)
	if c == nil {
		guid := newGUID()
		c = &claim{session: s.ID(), key: key, dir: dir, data: data}
		c.rename(guid, protected(guid, name))
	} else if _, err = c.recover(ctx, s); err == errAgain {
		err = nil
	}
	if err == nil && c.path == "" {
		_, err = c.create(ctx, s, id, dirs{acl: openACL(acl), keep: true, none: true})
	}
	if err != nil {
		return "", id.leave(ctx, s, at("create", path, err), c)
	}
	id.expect(s, c, c.path)
	return c.path, nil
}
