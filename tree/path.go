package tree

import (
	"context"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
)

func join(parent, name string) string {
	if parent == "/" {
		return "/" + name
	}
	return parent + "/" + name
}

// parent returns the path above; that of "/" is "".
func parent(path string) string {
	switch i := strings.LastIndexByte(path, '/'); {
	case path == "/":
		return ""
	case i <= 0:
		return "/"
	default:
		return path[:i]
	}
}

func base(path string) string {
	if path == "/" {
		return path
	}
	return path[strings.LastIndexByte(path, '/')+1:]
}

// below reports whether path is further down than root.
func below(path, root string) bool {
	if root == "/" {
		return len(path) > 1 && path[0] == '/'
	}
	return len(path) > len(root) && path[len(root)] == '/' && path[:len(root)] == root
}

// within reports whether path is root, or below it.
func within(path, root string) bool { return path == root || below(path, root) }

// serversOwn is where servers keep quotas and the ensemble's configuration.
const serversOwn = "/zookeeper"

// full returns a path as the server has it.
func full(s *zk.Session, path string) string {
	switch chroot := s.Chroot(); {
	case chroot == "":
		return path
	case path == "/":
		return chroot
	default:
		return chroot + path
	}
}

// hidden returns the path that is left out of a subtree: the server's own, of
// a tree that is all the server has. "" if there is none.
func hidden(s *zk.Session, root string) string {
	if full(s, root) == "/" {
		return serversOwn
	}
	return ""
}

// badPath returns why the client refuses a path, and "" if it does not.
func badPath(path string) string {
	err := zk.CheckPath(path)
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(err.Error(), zk.ErrBadPath.Error()+": ")
}

// refusal is an error of this package about a call that it does not send.
type refusal struct {
	op, path string
	kind     error
	detail   string
}

func (e *refusal) Error() string {
	return "zk: " + e.op + " " + e.path + ": not sent: " + strings.TrimPrefix(e.kind.Error(), "zk: ") + ": " + e.detail
}

func (e *refusal) Unwrap() error { return e.kind }

// Is makes it match ErrNotSent as an OpError does.
func (e *refusal) Is(target error) bool { return target == zk.ErrNotSent }

// checkTarget refuses to change what is not the application's.
func checkTarget(op string, s *zk.Session, path string) error {
	if within(full(s, path), serversOwn) {
		return &refusal{op, path, zk.ErrBadPath, "it is the server's own"}
	}
	return nil
}

// checkDirectory refuses "/" too, which nobody makes and nobody deletes.
func checkDirectory(op string, s *zk.Session, path string) error {
	if path == "/" {
		return &refusal{op, path, zk.ErrBadPath, "it is the root"}
	}
	return checkTarget(op, s, path)
}

// successor returns the Session that takes over from s, which a Dial may be making. It
// waits for one session timeout at most.
func successor(s *zk.Session) (*zk.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), max(s.Timeout(), time.Millisecond))
	defer cancel()
	return s.Successor(ctx)
}
