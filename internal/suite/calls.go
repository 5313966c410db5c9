package suite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Call is a method of zk.Session that makes a request, with arguments that every
// server understands. What it arms goes to ch, which may be nil.
type Call struct {
	takesPath bool // any path, and refuses one that is none
	Do        func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error
}

// Calls are all of them, by the names of the methods.
var Calls = map[string]Call{
	"Create": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf(s.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen))
	}},
	"CreateStat": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf2(s.CreateStat(ctx, path, nil, zk.Persistent, zk.ACLOpen))
	}},
	"Get": {true, func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error {
		return ErrOf2(s.Get(ctx, path, ch))
	}},
	"Exists": {true, func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error {
		return ErrOf2(s.Exists(ctx, path, ch))
	}},
	"Children": {true, func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error {
		return ErrOf2(s.Children(ctx, path, ch))
	}},
	"Set": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf(s.Set(ctx, path, nil, zk.AnyVersion))
	}},
	"Delete": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return s.Delete(ctx, path, zk.AnyVersion)
	}},
	"Sync": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return s.Sync(ctx, path)
	}},
	"GetACL": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf2(s.GetACL(ctx, path))
	}},
	"SetACL": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf(s.SetACL(ctx, path, zk.ACLOpen, zk.AnyVersion))
	}},
	"AddWatch": {true, func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error {
		if ch == nil {
			ch = make(chan zk.Event)
		}
		return s.AddWatch(ctx, path, zk.WatchPersistent, ch)
	}},
	// Of a channel that is armed; else there is nothing to ask.
	"RemoveWatch": {true, func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error {
		return s.RemoveWatch(ctx, path, ch)
	}},
	"AllChildrenNumber": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf(s.AllChildrenNumber(ctx, path))
	}},
	"Multi": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		res, err := s.Multi(ctx, zk.DeleteOp{Path: path, Version: zk.AnyVersion})
		return Failed(err, res)
	}},
	"MultiRead": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		res, err := s.MultiRead(ctx, zk.GetOp{Path: path})
		return Failed(err, res)
	}},
	"Batch": {true, func(ctx context.Context, s *zk.Session, path string, ch chan<- zk.Event) error {
		res, err := s.Batch(ctx, zk.GetOp{Path: path, Watch: ch})
		return Failed(err, res)
	}},
	"AddAuth": {false, func(ctx context.Context, s *zk.Session, _ string, _ chan<- zk.Event) error {
		return s.AddAuth(ctx, zk.Digest("user", "secret"))
	}},
	"Ephemerals": {false, func(ctx context.Context, s *zk.Session, _ string, _ chan<- zk.Event) error {
		return ErrOf(s.Ephemerals(ctx, "/"))
	}},
	"WhoAmI": {false, func(ctx context.Context, s *zk.Session, _ string, _ chan<- zk.Event) error {
		return ErrOf(s.WhoAmI(ctx))
	}},
	"GetConfig": {false, func(ctx context.Context, s *zk.Session, _ string, ch chan<- zk.Event) error {
		return ErrOf2(s.GetConfig(ctx, ch))
	}},
	"Reconfig": {false, func(ctx context.Context, s *zk.Session, _ string, _ chan<- zk.Event) error {
		return ErrOf2(s.Reconfig(ctx, zk.Reconfig{Leave: []string{"9"}, Version: 12345}))
	}},
}

// variants are calls once more, of other arguments, for what must be so whatever
// they are.
var variants = map[string]Call{
	"CreateStat with a TTL": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return ErrOf2(s.CreateStat(ctx, path, nil, zk.TTL(time.Hour), zk.ACLOpen))
	}},
	"AddWatch, recursive": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		return s.AddWatch(ctx, path, zk.WatchRecursive, make(chan zk.Event, 1))
	}},
	"Multi of several": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		res, err := s.Multi(ctx, zk.CheckOp{Path: "/"}, zk.SetOp{Path: path})
		return Failed(err, res)
	}},
	"MultiRead of several": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		res, err := s.MultiRead(ctx, zk.GetOp{Path: "/"}, zk.ChildrenOp{Path: path})
		return Failed(err, res)
	}},
	"Batch of several": {true, func(ctx context.Context, s *zk.Session, path string, _ chan<- zk.Event) error {
		res, err := s.Batch(ctx, zk.CreateOp{Path: "/never", ACL: zk.ACLOpen}, zk.ExistsOp{Path: path}, zk.GetACLOp{Path: path},
			zk.SetACLOp{Path: path, ACL: zk.ACLOpen, Version: zk.AnyVersion}, zk.SyncOp{Path: path}, zk.GetOp{Path: "/"})
		return Failed(err, res)
	}},
}

// EveryCall calls f with all calls and their variants, on a path. Each would arm
// a channel of its own. The order is always the same.
func EveryCall(path string, f func(name string, do func(ctx context.Context, s *zk.Session) error)) {
	for _, table := range []map[string]Call{Calls, variants} {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			do := table[name].Do
			f(name, func(ctx context.Context, s *zk.Session) error { return do(ctx, s, path, make(chan zk.Event, 1)) })
		}
	}
}

// OnPath calls f with those that take a path.
func OnPath(f func(name string, do func(ctx context.Context, s *zk.Session, path string) error)) {
	for _, table := range []map[string]Call{Calls, variants} {
		for name, c := range table {
			if c.takesPath {
				f(name, func(ctx context.Context, s *zk.Session, path string) error {
					return c.Do(ctx, s, path, make(chan zk.Event, 1))
				})
			}
		}
	}
}

// Failed makes sure that a call that was not sent has no results but such that say so.
func Failed(err error, res []zk.Result) error {
	if !errors.Is(err, zk.ErrNotSent) {
		return err
	}
	for _, r := range res {
		if !errors.Is(r.Err, zk.ErrNotSent) || r.Path != "" || r.Data != nil || r.Children != nil || r.Stat != (zk.Stat{}) {
			return fmt.Errorf("result %+v beside %v", r, err)
		}
	}
	return err
}

// ErrOf returns the error of a call with one result.
func ErrOf[T any](_ T, err error) error { return err }

// ErrOf2 returns the error of a call with two.
func ErrOf2[T, U any](_ T, _ U, err error) error { return err }
