package zk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"
	"unicode"

	root "github.com/seed-9f8420c6/zk"
)

// All calls wait for a connection. One that was not sent because the connection was
// lost goes on to the next one. One that was sent and not answered is
// ErrConnectionClosed: it may have been done, and is not repeated.

var background = context.Background()

// stat is what a call returns beside an error: a Stat, unless the connection or the path is to blame.
func stat(s root.Stat, err error) *Stat {
	if err == ErrConnectionClosed || err == ErrInvalidPath {
		return nil
	}
	out := Stat(s)
	return &out
}

// at makes a call at a path.
func (c *Conn) at(path string, call func(l *link) error) error {
	if err := validatePath(path, false); err != nil {
		return err
	}
	return c.do(call)
}

// statAt makes a call at a path that returns a Stat.
func (c *Conn) statAt(path string, call func(s *root.Session) (root.Stat, error)) (*Stat, error) {
	var st root.Stat
	err := c.at(path, func(l *link) (err error) {
		st, err = call(l.s)
		return err
	})
	return stat(st, err), err
}

// reading is a method of a Session that can arm a watch.
type reading[T any] func(s *root.Session, ctx context.Context, path string, ch chan<- root.Event) (T, root.Stat, error)

// read reads without a watch.
func read[T any](c *Conn, path string, from reading[T]) (out T, _ *Stat, err error) {
	st, err := c.statAt(path, func(s *root.Session) (st root.Stat, err error) {
		out, st, err = from(s, background, path, nil)
		return st, err
	})
	return out, st, err
}

// watched reads and arms a watch, and returns the watch's channel. An exist watch of what
// exists is a data watch.
func watched[T any](c *Conn, path string, kind watchKind, from reading[T]) (out T, _ *Stat, _ <-chan Event, err error) {
	var st root.Stat
	var ch <-chan Event
	err = c.at(path, func(l *link) (err error) {
		w, own, lane := l.books.join(path)
		if out, st, err = from(l.s, background, path, lane); err != nil {
			l.books.leave(path, w)
			return err
		}
		if kind == existWatch && st != (root.Stat{}) {
			kind = dataWatch
		}
		dealt := l.books.settle()
		if l.books.confirm(path, w, kind, dealt) {
			l.books.unlane(path, w, l.s.RemoveWatch(background, path, lane) == nil) // which asks no server
		}
		ch = own
		return nil
	})
	if err != nil {
		return out, nil, nil, err // which the root leaves empty
	}
	return out, stat(st, nil), ch, nil
}

// AddAuth adds a credential, which is also sent on every later connection.
func (c *Conn) AddAuth(scheme string, auth []byte) error {
	return c.do(func(l *link) error {
		return l.s.AddAuth(background, root.Auth{Scheme: scheme, Credential: auth})
	})
}

// Get returns the data of a znode.
func (c *Conn) Get(path string) ([]byte, *Stat, error) {
	return read(c, path, (*root.Session).Get)
}

// GetW is Get with a watch. Its channel gets one event, and is then closed.
func (c *Conn) GetW(path string) ([]byte, *Stat, <-chan Event, error) {
	return watched(c, path, dataWatch, (*root.Session).Get)
}

// children returns an empty list of no children, as go-zookeeper does.
func children(s *root.Session, ctx context.Context, path string, ch chan<- root.Event) ([]string, root.Stat, error) {
	names, st, err := s.Children(ctx, path, ch)
	if names == nil && err == nil {
		names = []string{}
	}
	return names, st, err
}

// Children returns the names of the children of a znode, in no order.
func (c *Conn) Children(path string) ([]string, *Stat, error) { return read(c, path, children) }

// ChildrenW is Children with a watch. Its channel gets one event, and is then closed.
func (c *Conn) ChildrenW(path string) ([]string, *Stat, <-chan Event, error) {
	return watched(c, path, childWatch, children)
}

// Exists reports whether a znode exists. If not, the Stat is zero.
func (c *Conn) Exists(path string) (bool, *Stat, error) {
	found, st, err := read(c, path, (*root.Session).Exists)
	// As go-zookeeper: true beside an error that a server gives.
	return found || st != nil && err != nil, st, err
}

// ExistsW is Exists with a watch, also for a znode that does not exist. Its channel
// gets one event, and is then closed.
func (c *Conn) ExistsW(path string) (bool, *Stat, <-chan Event, error) {
	return watched(c, path, existWatch, (*root.Session).Exists)
}

// Set changes the data of a znode that has the version; -1: any.
func (c *Conn) Set(path string, data []byte, version int32) (*Stat, error) {
	return c.statAt(path, func(s *root.Session) (root.Stat, error) { return s.Set(background, path, data, version) })
}

// Delete deletes a znode that has the version; -1: any.
func (c *Conn) Delete(path string, version int32) error {
	return c.at(path, func(l *link) error { return l.s.Delete(background, path, version) })
}

// GetACL returns the ACL of a znode.
func (c *Conn) GetACL(path string) ([]ACL, *Stat, error) {
	acl, st, err := read(c, path, func(s *root.Session, ctx context.Context, path string, _ chan<- root.Event) (root.ACL, root.Stat, error) {
		return s.GetACL(ctx, path)
	})
	return fromACL(acl), st, err
}

// SetACL changes the ACL of a znode whose Aversion is the version; -1: any.
func (c *Conn) SetACL(path string, acl []ACL, version int32) (*Stat, error) {
	list := toACL(acl)
	return c.statAt(path, func(s *root.Session) (root.Stat, error) { return s.SetACL(background, path, list, version) })
}

// Sync waits until the server has caught up with the leader, and returns the path.
func (c *Conn) Sync(path string) (string, error) {
	if err := c.at(path, func(l *link) error { return l.s.Sync(background, path) }); err != nil {
		return "", err
	}
	return path, nil
}

// Create creates a znode and returns its path, to which FlagSequence appends a number.
func (c *Conn) Create(path string, data []byte, flags int32, acl []ACL) (string, error) {
	return c.create(path, data, flags, flags < FlagTTL, "Create with TTL flag disallowed", root.Mode(flags), acl)
}

// CreateContainer creates a container. The flags must be FlagContainer.
func (c *Conn) CreateContainer(path string, data []byte, flag int32, acl []ACL) (string, error) {
	return c.create(path, data, flag, flag == FlagContainer, "CreateContainer requires container flag", root.Container, acl)
}

// CreateTTL creates a znode that the server deletes when it has had no children and no
// change for ttl, in whole milliseconds; less than one is ErrBadArguments. The flags must be
// FlagTTL or FlagPersistentSequentialWithTTL.
func (c *Conn) CreateTTL(path string, data []byte, flag int32, acl []ACL, ttl time.Duration) (string, error) {
	mode := root.TTL
	if flag == FlagPersistentSequentialWithTTL {
		mode = root.SequentialTTL
	}
	ttl = ttl.Truncate(time.Millisecond) // the root rounds up
	return c.create(path, data, flag, flag >= FlagTTL, "CreateTTL requires TTL flag", mode(ttl), acl)
}

// create checks the flags, and says what is wrong if they do not fit the method.
func (c *Conn) create(path string, data []byte, flags int32, fit bool, wrong string, mode root.Mode, acl []ACL) (made string, err error) {
	if err = checkFlags(flags, path); err != nil {
		return "", err
	}
	if !fit {
		return "", fmt.Errorf("%s: %w", wrong, ErrInvalidFlags)
	}
	list := toACL(acl)
	err = c.do(func(l *link) (err error) {
		made, err = l.s.Create(background, path, data, mode, list)
		return err
	})
	return made, err
}

// checkFlags checks flags and path, in the order in which go-zookeeper does.
func checkFlags(flags int32, path string) error {
	if flags < FlagPersistent || flags > FlagPersistentSequentialWithTTL {
		return fmt.Errorf("invalid flag value: [%v]", flags)
	}
	return validatePath(path, flags == FlagSequence || flags == FlagEphemeralSequential || flags == FlagPersistentSequentialWithTTL)
}

// Multi executes all operations or none: *CreateRequest, *DeleteRequest,
// *SetDataRequest and *CheckVersionRequest. If one fails, Multi returns its error; the
// results before it have no Error, and those after it an "unknown error: -2". If one
// is refused before it is sent, for its path, flags or ACL, there are no results.
func (c *Conn) Multi(ops ...interface{}) (_ []MultiResponse, err error) {
	list := make([]root.WriteOp, len(ops))
	for i, op := range ops {
		if list[i], err = writeOp(op); err != nil {
			return nil, err
		}
	}
	var results []root.Result
	err = c.do(func(l *link) (err error) {
		results, err = l.s.Multi(background, list...)
		return err
	})
	if err == ErrConnectionClosed {
		return nil, err
	}
	out := make([]MultiResponse, len(results))
	failed := false
	for i, r := range results {
		if r.Err == nil {
			out[i].String = r.Path
			if _, ok := list[i].(root.SetOp); ok {
				out[i].Stat = stat(r.Stat, nil)
			}
			continue
		}
		code, _ := r.Err.(root.Code)
		if failed = failed || code != root.ErrRuntimeInconsistency; failed {
			out[i].Error = codeError(code, r.Err)
		}
	}
	return out, err
}

// writeOp translates an operation of Multi.
func writeOp(op any) (root.WriteOp, error) {
	if v := reflect.ValueOf(op); v.Kind() == reflect.Pointer && !v.IsNil() {
		switch op := op.(type) {
		case *CreateRequest:
			err := checkFlags(op.Flags, op.Path) // the root has TTLs in higher bits
			return root.CreateOp{Path: op.Path, Data: op.Data, Mode: root.Mode(op.Flags), ACL: toACL(op.Acl)}, err
		case *DeleteRequest:
			return root.DeleteOp(*op), nil
		case *SetDataRequest:
			return root.SetOp(*op), nil
		case *CheckVersionRequest:
			return root.CheckOp(*op), nil
		}
	}
	return nil, fmt.Errorf("unknown operation type %T", op)
}

// IncrementalReconfig lets servers join and leave the ensemble, and returns the Stat of
// its configuration. A version other than -1 must be that of the configuration.
func (c *Conn) IncrementalReconfig(joining, leaving []string, version int64) (*Stat, error) {
	return c.reconfig(root.Reconfig{Join: members(joining), Leave: members(leaving), Version: version})
}

// Reconfig replaces the members of the ensemble, see IncrementalReconfig.
func (c *Conn) Reconfig(list []string, version int64) (*Stat, error) {
	return c.reconfig(root.Reconfig{Members: members(list), Version: version})
}

func (c *Conn) reconfig(change root.Reconfig) (*Stat, error) {
	var st root.Stat
	err := c.do(func(l *link) (err error) {
		_, st, err = l.s.Reconfig(background, change)
		return err
	})
	return stat(st, nil), err
}

// members splits what go-zookeeper joins by commas, and trims it.
func members(list []string) []string {
	return strings.FieldsFunc(strings.Join(list, ","), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// CreateProtectedEphemeralSequential creates an ephemeral znode whose name begins with
// a random number. After a lost answer it looks for that name, up to three times, and
// does not create the znode twice. After an error the znode may exist.
func (c *Conn) CreateProtectedEphemeralSequential(path string, data []byte, acl []ACL) (made string, err error) {
	if err = validatePath(path, true); err != nil {
		return "", err
	}
	at := strings.LastIndexByte(path, '/') + 1
	prefix := fmt.Sprintf("_c_%016x%016x-", rand.Uint64(), rand.Uint64())
	dir := path[:max(at-1, 1)]
	for range 3 {
		made, err = c.Create(path[:at]+prefix+path[at:], data, FlagEphemeralSequential, acl)
		switch {
		case errors.Is(err, ErrSessionExpired): // it cannot exist
		case err == ErrConnectionClosed:
			found, lookErr := c.ownChild(dir, prefix)
			for tries := 1; tries < 3 && (lookErr == ErrConnectionClosed || lookErr == ErrNoServer) && c.ctx.Err() == nil; tries++ {
				found, lookErr = c.ownChild(dir, prefix)
			}
			if found != "" || lookErr != nil {
				return found, lookErr
			}
		default:
			return made, err
		}
	}
	return "", err
}

// ownChild looks for the znode of this session whose name has the prefix.
func (c *Conn) ownChild(dir, prefix string) (string, error) {
	if _, err := c.Sync(dir); err != nil { // the next server may lag
		return "", err
	}
	names, _, err := c.Children(dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		path := strings.TrimSuffix(dir, "/") + "/" + name
		if found, st, err := c.Exists(path); err != nil {
			return "", err
		} else if found && st.EphemeralOwner == c.SessionID() {
			return path, nil
		}
	}
	return "", nil
}
