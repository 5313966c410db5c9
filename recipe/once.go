package recipe

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/seed-9f8420c6/zk"
)

// Once executes each transaction of a session exactly once, over any number of
// lost connections. It adds one operation to each transaction, which counts it.
// So a transaction that is sent again is refused if it was executed. One
// goroutine at a time may use a Once. Do not copy it after its first use.
type Once struct {
	// Path is the marker: an ephemeral znode whose version counts the
	// transactions. The first Do creates it, with its parents, and it is deleted
	// when the session ends. While another session has it, Do waits. No other Once
	// of the session may use it while an answer is missing: its transactions would
	// count as those of this Once.
	Path string
	ACL  zk.ACL // nil: zk.ACLOpen

	session int64        // that the marker belongs to; 0: none yet
	version int32        // of the marker, as far as answers say
	pending []zk.WriteOp // sent, and not answered
}

// Do executes ops as Session.Multi does. After an error that matches zk.ErrLost,
// zk.ErrConnection or zk.ErrMoved, call it again with the same ops, and with the
// successor if the connection is lost. again reports that an earlier call had
// executed them; then there are no results. While an answer is missing, other ops
// are refused with zk.ErrBadArguments.
//
// The error of an operation means that nothing was executed. ErrUnknown: the
// session expired in between, and ops may or may not have been executed. It
// is returned once.
func (o *Once) Do(ctx context.Context, s *zk.Session, ops ...zk.WriteOp) (res []zk.Result, again bool, err error) {
	if err := checkDir(o.Path); err != nil {
		return nil, false, err
	}
	id, err := begin(ctx, s)
	if err != nil {
		return nil, false, err
	}
	if o.session != s.ID() {
		unknown := o.pending != nil
		o.session, o.pending = 0, nil
		if unknown {
			return nil, false, o.unknown()
		}
	}
	if o.pending != nil && !reflect.DeepEqual(o.pending, ops) {
		return nil, false, badArgument("an answer to other operations is missing: Do them again first")
	}
	for {
		if o.session == 0 {
			if err := o.mark(ctx, s, id); err != nil {
				return nil, false, err
			}
		}
		res, err := s.Multi(ctx, append([]zk.WriteOp{zk.SetOp{Path: o.Path, Version: o.version}}, ops...)...)
		switch {
		case err == nil:
			o.version++
			o.pending = nil
			return res[1:], false, nil
		case len(res) == 0:
			if errors.Is(err, zk.ErrLost) {
				o.pending = make([]zk.WriteOp, len(ops))
				for i, op := range ops {
					o.pending[i] = copied(op)
				}
			}
			return nil, false, err
		case res[0].Err == zk.ErrVersion && o.pending != nil:
			o.version++
			o.pending = nil
			return nil, true, nil
		case res[0].Err == zk.ErrNoNode && o.pending != nil:
			o.session, o.pending = 0, nil
			return nil, false, o.unknown()
		case res[0].Err == zk.ErrVersion, res[0].Err == zk.ErrNoNode: // somebody has touched the marker
			o.session = 0
		default:
			o.pending = nil
			return res[1:], false, err
		}
	}
}

// copied returns an operation that shares no memory with op, which is the
// caller's again when Do returns.
func copied(op zk.WriteOp) zk.WriteOp {
	if v := reflect.ValueOf(op); v.Kind() == reflect.Pointer {
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(reflect.ValueOf(copied(v.Elem().Interface().(zk.WriteOp))))
		return c.Interface().(zk.WriteOp)
	}
	switch op := op.(type) {
	case zk.CreateOp:
		op.Data, op.ACL = slices.Clone(op.Data), slices.Clone(op.ACL)
		return op
	case zk.SetOp:
		op.Data = slices.Clone(op.Data)
		return op
	}
	return op
}

func (o *Once) unknown() error {
	return fmt.Errorf("%w: the marker %s is gone: %w", ErrUnknown, o.Path, zk.ErrLost)
}

// mark makes the marker, or finds this session's, and reads its version.
func (o *Once) mark(ctx context.Context, s *zk.Session, id *identity) error {
	w := &owned{path: o.Path, acl: o.ACL, stays: true}
	c, err := w.claim(ctx, s, id, placeKey{kind: ownKind, dir: o.Path, data: "once"}, "")
	if err != nil {
		return &markError{err}
	}
	id.finish(s, c)
	found, st, err := s.Exists(ctx, o.Path, nil)
	if err != nil {
		return err
	}
	if found && st.EphemeralOwner == s.ID() {
		o.session, o.version = s.ID(), st.Version
	}
	return nil
}

// forget gives up the answer that is missing, if there is one.
func (o *Once) forget() { o.session, o.pending = 0, nil }

// markError says that there is no marker.
type markError struct{ error }

func (e *markError) Unwrap() error { return e.error }
