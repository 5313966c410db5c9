package recipe

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// CreateProtected creates an ephemeral sequential znode whose name begins with a
// random GUID, as in Curator's protected mode. It returns the path: for
// "/jobs/job-" that is "/jobs/_c_<UUID>-job-0000000007". The parent must exist.
// nil data is stored as null, and a nil acl is zk.ACLOpen.
//
// A lost answer does no harm. After an error that matches zk.ErrConnection or
// zk.ErrMoved, make the same call with the successor. It returns the znode if
// this session has created it, and creates it otherwise. If nobody calls within
// one session timeout, the znode is deleted. After any other error it is deleted
// at once.
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
