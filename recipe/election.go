package recipe

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/seed-9f8420c6/zk"
)

// Election is a Lock whose holder is the leader. Others see its ID. The other
// fields are those of Lock.
type Election struct {
	Path, ID string
	ACL      zk.ACL
	Layout   Layout
	KeepDir  bool
	GUID     string
}

// Campaign waits until this candidate is the leader, as Lock.Acquire does. The
// Hold is its term. Release resigns.
func (e *Election) Campaign(ctx context.Context, s *zk.Session) (*Hold, error) {
	l := &line{what: "election", dir: e.Path, kind: latchKind, layout: e.Layout, data: []byte(e.ID), acl: e.ACL, keep: e.KeepDir, guid: e.GUID}
	return l.acquire(ctx, s, true)
}

// Leader returns the leader, or ErrNoLeader. There may be another one by the time
// it returns.
func (e *Election) Leader(ctx context.Context, s *zk.Session) (Contender, error) {
	id, err := e.begin(ctx, s)
	if err != nil {
		return Contender{}, err
	}
	c, _, err := e.look(ctx, s, id, nil)
	if err == nil && c.Path == "" {
		err = fmt.Errorf("%w in %s", ErrNoLeader, e.Path)
	}
	return c, err
}

func (e *Election) begin(ctx context.Context, s *zk.Session) (*identity, error) {
	if err := checkDir(e.Path); err != nil {
		return nil, err
	}
	return begin(ctx, s)
}

// look reads who leads. It watches its znode, or the directory where nobody
// stands, by what arm returns; nil: by nothing.
func (e *Election) look(ctx context.Context, s *zk.Session, id *identity, arm func(path string) *watch) (Contender, *watch, error) {
	if arm == nil {
		arm = func(string) *watch { return nil }
	}
	for {
		names, _, err := s.Children(ctx, e.Path, nil)
		if err != nil && code(err) != zk.ErrNoNode {
			return Contender{}, nil, err
		}
		missing := err != nil
		queue, err := inOrder(ctx, s, e.Path, names)
		if err != nil {
			return Contender{}, nil, err
		}
		if len(queue) == 0 {
			w := arm(e.Path)
			if w == nil {
				return Contender{}, nil, nil
			}
			still, err := e.watchDir(ctx, s, w, missing)
			if err == nil && still {
				return Contender{}, w, nil
			}
			id.disarm(s, w)
			if err != nil {
				return Contender{}, nil, err
			}
			continue
		}
		path := join(e.Path, queue[0].name)
		w := arm(path)
		var ch chan<- zk.Event
		if w != nil {
			ch = w.ch
		}
		data, st, err := s.Get(ctx, path, ch)
		switch {
		case err == nil:
			c := newContender(path, zk.Result{Data: data, Stat: st})
			c.Holds = true
			return c, w, nil
		case code(err) != zk.ErrNoNode:
			return Contender{}, nil, err
		}
	}
}

// watchDir watches a directory in which nobody stands, and reports whether that
// is so still.
func (e *Election) watchDir(ctx context.Context, s *zk.Session, w *watch, missing bool) (bool, error) {
	if missing {
		found, _, err := s.Exists(ctx, e.Path, w.ch)
		return !found, err
	}
	names, _, err := s.Children(ctx, e.Path, w.ch)
	if code(err) == zk.ErrNoNode {
		return false, nil
	}
	for _, name := range names {
		if _, ok := parseEntry(name); ok {
			return false, err
		}
	}
	return err == nil, err
}

// Observe yields the leader, and each leader that follows. When a leader is
// gone and nobody follows, it yields a Contender without a Path. A leader that
// changes its data is yielded again. Observe ends with the error of the Session
// or of ctx.
//
// last is the Contender that was yielded last, with the Session before. It
// is not yielded again. The first time pass the zero Contender.
func (e *Election) Observe(ctx context.Context, s *zk.Session, last Contender) iter.Seq2[Contender, error] {
	return func(yield func(Contender, error) bool) {
		id, err := e.begin(ctx, s)
		var w *watch
		defer func() { // also if the loop that it yields to panics
			if w != nil {
				id.disarm(s, w)
			}
		}()
		for err == nil {
			var c Contender
			if c, w, err = e.look(ctx, s, id, newWatch); err != nil {
				break
			}
			if c.Path != last.Path || c.Token != last.Token || !bytes.Equal(c.Data, last.Data) {
				last = c
				if !yield(c, nil) {
					return
				}
			}
			select {
			case <-w.ch:
			case <-s.Done():
				err = at("observe", e.Path, s.Err())
			case <-ctx.Done():
				err = at("observe", e.Path, ctx.Err())
			}
			id.disarm(s, w)
			w = nil
		}
		yield(Contender{}, err)
	}
}
