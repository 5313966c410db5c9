package zktest

import (
	"bytes"

	"github.com/seed-9f8420c6/zk/wire"
)

// request is one decoded request, or one operation of a multi. Which fields
// mean something depends on op.
type request struct {
	xid      int32
	op       wire.Op
	path     string
	watch    bool
	data     []byte
	acl      []wire.ACL
	flags    int32 // of a create; mode of addWatch, type of check- and removeWatches
	version  int32
	ttl      int64
	multi    []request
	watches  wire.SetWatches2Request
	reconfig wire.ReconfigRequest
	auth     wire.AuthRequest
	token    []byte // of SASL
	bad      bool   // the record did not decode
	nullPath bool   // path is null, which the server takes apart from empty by tripping over it
	nullACL  bool   // in a multi since 3.7, which trips over it before it takes a zxid
}

// since says which release first knew an operation; those that are missing are as old as 3.4.
var since = map[wire.Op]Version{
	wire.OpCreate2: V35, wire.OpReconfig: V35, wire.OpCheckWatches: V35, wire.OpRemoveWatches: V35,
	wire.OpCreateContainer: V35, wire.OpCreateTTL: V35, opDeleteContainer: V35,
	wire.OpMultiRead: V36, wire.OpGetEphemerals: V36, wire.OpAllChildrenNumber: V36,
	wire.OpSetWatches2: V36, wire.OpAddWatch: V36,
	wire.OpWhoAmI: V37,
}

// knows says whether servers of this release execute op as a request (Request.isValid).
func (v Version) knows(op wire.Op) bool {
	switch op {
	case wire.OpCreate, wire.OpDelete, wire.OpExists, wire.OpGetData, wire.OpSetData, wire.OpGetACL, wire.OpSetACL,
		wire.OpGetChildren, wire.OpSync, wire.OpPing, wire.OpGetChildren2, wire.OpMulti, wire.OpSetWatches, wire.OpCloseSession:
		return true
	}
	if op == wire.OpCheck {
		return v < V38
	}
	first, ok := since[op]
	return ok && v >= first
}

// opDeleteContainer is how a real server asks itself to delete a container. It
// lets clients ask too, whatever the ACLs say.
const opDeleteContainer wire.Op = 20

// writes says whether op becomes a transaction.
func writes(op wire.Op) bool {
	switch op {
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL, wire.OpDelete, opDeleteContainer,
		wire.OpSetData, wire.OpSetACL, wire.OpCheck, wire.OpMulti, wire.OpReconfig:
		return true
	}
	return false
}

func creates(op wire.Op) bool {
	return op == wire.OpCreate || op == wire.OpCreate2 || op == wire.OpCreateContainer || op == wire.OpCreateTTL
}

// first returns the first operation of a multi, or else the request.
func (r *request) first() *request {
	if r.op == wire.OpMulti && len(r.multi) > 0 {
		return &r.multi[0]
	}
	return r
}

var null = []byte{0xff, 0xff, 0xff, 0xff}

// nullString stands for null in lists of paths and in ACLs. It is no text that
// a request can have, as javaText leaves nothing but UTF-8.
const nullString = "\xff"

// decode reads the record behind the request's header.
func (r *request) decode(d *wire.Decoder, version Version) {
	r.nullPath = bytes.HasPrefix(d.Rest(), null)
	start := *d
	switch r.op {
	case opDeleteContainer:
		if version < V39 {
			r.path = "\x00" // the path is not cut out of its record, and so always wrong
			r.nullPath = false
			break
		}
		var q wire.PathRequest
		q.Decode(d)
		r.path = q.Path
	case wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber:
		var q wire.PathRequest
		q.Decode(d)
		r.path = q.Path
	case wire.OpSetACL:
		var q wire.SetACLRequest
		q.Decode(d)
		r.path, r.acl, r.version = q.Path, q.ACL, q.Version
	case wire.OpCheckWatches, wire.OpRemoveWatches:
		var q wire.WatcherTypeRequest
		q.Decode(d)
		r.path, r.flags = q.Path, q.Type
	case wire.OpAddWatch:
		var q wire.AddWatchRequest
		q.Decode(d)
		r.path, r.flags = q.Path, q.Mode
	case wire.OpSetWatches:
		var q wire.SetWatchesRequest
		q.Decode(d)
		r.watches = wire.SetWatches2Request{
			RelativeZxid: q.RelativeZxid, Data: q.Data, Exist: q.Exist, Child: q.Child, Persistent: []string{}, Recursive: []string{},
		}
	case wire.OpSetWatches2:
		r.watches.Decode(d)
	case wire.OpReconfig:
		r.reconfig.Decode(d)
	case wire.OpAuth:
		r.auth.Decode(d)
	case wire.OpSASL:
		var q wire.SASLRequest
		q.Decode(d)
		r.token = q.Token
	case wire.OpMulti, wire.OpMultiRead:
		r.decodeMulti(d, version)
	default:
		r.decodeOp(d)
	}
	r.bad = r.bad || d.Err() != nil
	r.asJava(start)
}

// asJava replaces the strings by what Java makes of them. d is at the record
// that they are from.
func (r *request) asJava(d wire.Decoder) {
	r.path = javaText(r.path)
	for i := range r.acl {
		a := &r.acl[i]
		a.Scheme, a.ID = javaText(a.Scheme), javaText(a.ID)
		if a.Scheme == "" || a.ID == "" {
			defer r.markACL(d)
		}
	}
	w := &r.watches
	for _, list := range [][]string{w.Data, w.Exist, w.Child, w.Persistent, w.Recursive} {
		for i := range list {
			if list[i] = javaText(list[i]); list[i] == "" {
				defer r.markWatches(d)
			}
		}
	}
	r.auth.Scheme = javaText(r.auth.Scheme)
}

// markACL puts nullString where the ACL has null, which has decoded as empty.
func (r *request) markACL(d wire.Decoder) {
	d.Buffer() // path
	if r.op != wire.OpSetACL {
		d.Buffer()
	}
	d.Int32()
	for i := range r.acl {
		d.Int32()
		for _, s := range []*string{&r.acl[i].Scheme, &r.acl[i].ID} {
			if d.Buffer() == nil {
				*s = nullString
			}
		}
	}
}

// markWatches does so in the lists of setWatches.
func (r *request) markWatches(d wire.Decoder) {
	d.Int64()
	w := &r.watches
	for _, list := range [][]string{w.Data, w.Exist, w.Child, w.Persistent, w.Recursive} {
		d.Int32()
		for i := range list {
			if d.Buffer() == nil {
				list[i] = nullString
			}
		}
	}
}

// decodeOp reads the record of an operation that a multi or multiRead may hold,
// or of the two reads that are like theirs.
func (r *request) decodeOp(d *wire.Decoder) {
	switch r.op {
	case wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2:
		var q wire.PathWatchRequest
		q.Decode(d)
		r.path, r.watch = q.Path, q.Watch
	case wire.OpSetData:
		var q wire.SetDataRequest
		q.Decode(d)
		r.path, r.data, r.version = q.Path, bytes.Clone(q.Data), q.Version
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer:
		var q wire.CreateRequest
		q.Decode(d)
		r.path, r.data, r.acl, r.flags, r.ttl = q.Path, bytes.Clone(q.Data), q.ACL, q.Flags, -1
	case wire.OpCreateTTL:
		var q wire.CreateTTLRequest
		q.Decode(d)
		r.path, r.data, r.acl, r.flags, r.ttl = q.Path, bytes.Clone(q.Data), q.ACL, q.Flags, q.TTL
	case wire.OpDelete, wire.OpCheck:
		var q wire.PathVersionRequest
		q.Decode(d)
		r.path, r.version = q.Path, q.Version
	}
}

func (r *request) decodeMulti(d *wire.Decoder, version Version) {
	for {
		var h wire.MultiHeader
		h.Decode(d)
		if h.Done || d.Err() != nil {
			break
		}
		r.multi = append(r.multi, request{op: h.Op, nullPath: bytes.HasPrefix(d.Rest(), null)})
		sub := &r.multi[len(r.multi)-1]
		start := *d
		if version < since[h.Op] {
			r.bad = true
		}
		reads := h.Op == wire.OpGetData || h.Op == wire.OpGetChildren
		if reads != (r.op == wire.OpMultiRead) {
			r.bad = true // a multi that mixes kinds
		}
		switch h.Op {
		case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL, wire.OpDelete, wire.OpCheck, wire.OpSetData,
			wire.OpGetData, wire.OpGetChildren:
			sub.decodeOp(d)
			sub.watch = false // it has no meaning here
		default:
			d.Fail("operation in a multi")
		}
		if flags := sub.flags; creates(h.Op) {
			bad := sub.modeInMulti(version)
			if h.Op != wire.OpCreateTTL {
				r.nullACL = r.nullACL || sub.acl == nil && version >= V37 && !r.bad && knownMode(flags)
				r.bad = r.bad || bad
			}
		}
		sub.asJava(start)
	}
	if d.Err() != nil {
		r.multi, r.nullACL = nil, false
	}
}

func knownMode(flags int32) bool {
	return flags >= wire.FlagPersistent && flags <= wire.FlagPersistentSequentialTTL
}

// modeInMulti adapts a create's opcode to its flags, which inside a multi go
// first (Op.Create). It returns true if the whole multi does not decode.
func (r *request) modeInMulti(version Version) (bad bool) {
	if version < V35 {
		return false
	}
	withTTL := r.flags == wire.FlagPersistentTTL || r.flags == wire.FlagPersistentSequentialTTL
	switch {
	case r.op == wire.OpCreateTTL && withTTL:
		return false
	case r.op == wire.OpCreateTTL:
		r.op, r.ttl = wire.OpCreate, -1
	case version >= V37 && (withTTL || !knownMode(r.flags)):
		return true
	}
	switch {
	case withTTL:
		r.bad = true // the server trips over it when it gets there
	case r.flags == wire.FlagContainer:
		r.op = wire.OpCreateContainer
	case version < V37:
		r.op = wire.OpCreate // ZOOKEEPER-4026
	}
	return false
}
