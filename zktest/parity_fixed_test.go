package zktest

import (
	"fmt"
	"math"

	"github.com/seed-9f8420c6/zk/wire"
)

// jute is a record in its wire form; nil is a null string, buffer or vector.
func jute(fields ...any) encoded {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case nil:
			b = wire.AppendInt32(b, -1)
		case int:
			b = wire.AppendInt32(b, int32(f))
		case int64:
			b = wire.AppendInt64(b, f)
		case bool:
			b = wire.AppendBool(b, f)
		case string:
			b = wire.AppendString(b, f)
		case wire.Record:
			b = f.Append(b)
		default:
			panic(fmt.Sprintf("%T", f))
		}
	}
	return b
}

// juteMulti is a multi of operations in their wire form.
func juteMulti(ops ...wire.MultiOp) encoded { return wire.MultiRequest{Ops: ops}.Append(nil) }

// openList is an open ACL in its wire form.
var openList = jute(1, 31, "world", "anyone")

// fixedSteps are requests that no client should make and the generator does
// not, with null in every place, and what shows their effects.
func fixedSteps(version Version, members int) []step {
	var list []step
	add := func(si int, op wire.Op, what string, recs ...wire.Record) {
		if version < since[op] {
			return
		}
		list = append(list, step{si: si, op: op, name: fmt.Sprintf("%v %s", op, what), request: func(*peer) []wire.Record { return recs }})
	}
	touch := func() { // fires the watches of session 0
		add(1, wire.OpSetData, "/", wire.SetDataRequest{Path: "/", Version: -1})
		add(1, wire.OpCreate, "/n", wire.CreateRequest{Path: "/n", ACL: world})
		add(1, wire.OpDelete, "/n", wire.PathVersionRequest{Path: "/n", Version: -1})
	}

	far := int64(math.MaxInt64)
	for i := range 5 {
		for _, wrong := range []wire.Record{jute(nil), jute(1, nil), jute(2, "/", nil), jute(2, nil, "/"), jute(-2)} {
			lists := make([]any, 6)
			lists[0] = far
			for k := range 5 {
				lists[1+k] = jute(1, []string{"/", "/n"}[k%2])
			}
			lists[1+i] = wrong
			if i < 3 {
				add(0, wire.OpSetWatches, fmt.Sprintf("%d: %v", i, wrong), jute(lists[:4]...))
				touch()
			}
			add(0, wire.OpSetWatches2, fmt.Sprintf("%d: %v", i, wrong), jute(lists...))
			touch()
			if version >= V36 {
				for _, path := range []string{"/", "/n"} {
					add(0, wire.OpRemoveWatches, path, wire.WatcherTypeRequest{Path: path, Type: wire.WatcherAny})
				}
			}
		}
	}

	check := wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/", Version: -1}}
	wrong := wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/none", Version: -1}}
	create := wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/n", ACL: world}}
	for _, op := range []wire.MultiOp{
		{Op: wire.OpCheck, Request: jute(nil, -1)},
		{Op: wire.OpDelete, Request: jute(nil, -1)},
		{Op: wire.OpSetData, Request: jute(nil, "x", -1)},
		{Op: wire.OpSetData, Request: jute("/", nil, -1)},
		{Op: wire.OpCreate, Request: jute(nil, "x", openList, 0)},
		{Op: wire.OpCreate, Request: jute(nil, "x", openList, 2)},
		{Op: wire.OpCreate, Request: jute("/n2", nil, openList, 0)},
		{Op: wire.OpCreate, Request: jute(nil, "x", nil, 0)},
		{Op: wire.OpCreate, Request: jute(nil, "x", openList, 99)},
		{Op: wire.OpCreate2, Request: jute(nil, "x", openList, 0)},
		{Op: wire.OpCreateContainer, Request: jute(nil, "x", openList, 4)},
		{Op: wire.OpCreateTTL, Request: jute(nil, "x", openList, 5, int64(100000))},
		{Op: wire.OpCreate, Request: jute("/n3", "x", jute(1, 31, "world", nil), 0)},
		{Op: wire.OpCreate, Request: jute("/n3", "x", jute(1, 31, nil, nil), 0)},
	} {
		if version < since[op.Op] {
			continue
		}
		text := fmt.Sprintf("%v %v", op.Op, op.Request)
		add(0, wire.OpMulti, text, juteMulti(op))
		add(0, wire.OpMulti, "check and "+text, juteMulti(check, op))
		add(0, wire.OpMulti, "create and "+text, juteMulti(create, op, check))
		add(0, wire.OpMulti, "one that fails and "+text, juteMulti(wrong, op))
		touch()
	}
	get := func(op wire.Op, path any) wire.MultiOp { return wire.MultiOp{Op: op, Request: jute(path, false)} }
	add(0, wire.OpMultiRead, "get null", juteMulti(get(wire.OpGetData, nil)))
	add(0, wire.OpMultiRead, "children of null", juteMulti(get(wire.OpGetChildren, nil)))
	add(0, wire.OpMultiRead, "get / and null", juteMulti(get(wire.OpGetData, "/"), get(wire.OpGetData, nil)))
	add(0, wire.OpMultiRead, "get null and /", juteMulti(get(wire.OpGetChildren, nil), get(wire.OpGetData, "/")))
	add(0, wire.OpMultiRead, "get empty", juteMulti(get(wire.OpGetChildren, ""), get(wire.OpGetData, "")))

	for _, scheme := range []any{"world", "digest", "auth", "ip", "x509", "sasl", "super", "nope", "", nil} {
		for _, id := range []any{nil, ""} {
			for _, acl := range []encoded{jute(1, 31, scheme, id), jute(2, 31, "world", "anyone", 31, scheme, id), jute(2, 31, scheme, id, 31, scheme, id)} {
				text := fmt.Sprintf("of ACL %v %v %d", scheme, id, len(acl))
				add(0, wire.OpCreate, text, jute("/n", nil, acl, 0))
				add(0, wire.OpGetACL, text, wire.PathRequest{Path: "/n"})
				add(1, wire.OpGetData, text, wire.PathWatchRequest{Path: "/n"})
				add(0, wire.OpDelete, text, jute("/n", -1))
				add(0, wire.OpSetACL, text, jute("/", acl, -1))
				add(0, wire.OpSetACL, text, jute("/", openList, -1))
				add(0, wire.OpMulti, text, juteMulti(wire.MultiOp{Op: wire.OpCreate, Request: jute("/n", nil, acl, 0)}, check))
				add(0, wire.OpDelete, text, jute("/n", -1))
				add(0, wire.OpCreate, "without a parent "+text, jute("/none/n", nil, acl, 0))
				add(0, wire.OpCreate, "at a wrong path "+text, jute("n", nil, acl, 0))
			}
		}
	}
	for _, op := range []wire.Op{
		wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2, wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber,
		wire.OpCheckWatches, wire.OpRemoveWatches, wire.OpAddWatch, wire.OpDelete,
	} {
		tail := jute(0)
		switch op {
		case wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2:
			tail = jute(true)
		}
		add(0, op, "null", jute(nil, tail))
		touch()
	}
	add(0, wire.OpSetData, "null", jute(nil, "x", -1))
	add(0, wire.OpSetACL, "null", jute(nil, openList, -1))
	add(0, wire.OpSetACL, "null list", jute("/", nil, -1))
	add(0, wire.OpCreate, "null", jute(nil, "x", openList, 0))
	add(0, wire.OpCreate, "null list", jute("/n", "x", nil, 0))

	for _, scheme := range []any{"digest", "ip", "nope", "x509", "", nil} {
		for _, auth := range []any{nil, ""} {
			add(2, wire.OpAuth, fmt.Sprintf("%v %v", scheme, auth), jute(0, scheme, auth))
			add(2, wire.OpWhoAmI, "")
		}
	}
	return list
}
