package data

import (
	"bytes"
	"slices"

	"github.com/seed-9f8420c6/zk/wire"
)

// Request is one decoded request, or one operation of a multi. Which fields
// mean something depends on op.
type Request struct {
	Xid      int32
	Op       wire.Op
	Path     string
	Watch    bool
	Data     []byte
	ACL      []wire.ACL
	Flags    int32 // of a create; mode of addWatch, type of check- and removeWatches
	Version  int32
	TTL      int64
	Multi    []Request
	Watches  wire.SetWatches2Request
	Reconfig wire.ReconfigRequest
	Auth     wire.AuthRequest
	Token    []byte // of SASL
	Bad      bool   // the record did not decode
	NullPath bool   // path is null, which the server takes apart from empty by tripping over it
	NullACL  bool   // in a multi since 3.7, which trips over it before it takes a zxid
}

// Since says which release first knew an operation; those that are missing are as old as 3.4.
var Since = map[wire.Op]Version{
	wire.OpCreate2: V35, wire.OpReconfig: V35, wire.OpCheckWatches: V35, wire.OpRemoveWatches: V35,
	wire.OpCreateContainer: V35, wire.OpCreateTTL: V35, OpDeleteContainer: V35,
	wire.OpMultiRead: V36, wire.OpGetEphemerals: V36, wire.OpAllChildrenNumber: V36,
	wire.OpSetWatches2: V36, wire.OpAddWatch: V36,
	wire.OpWhoAmI: V37,
}

// Knows says whether servers of this release execute op as a request (Request.isValid).
func (v Version) Knows(op wire.Op) bool {
	switch op {
	case wire.OpCreate, wire.OpDelete, wire.OpExists, wire.OpGetData, wire.OpSetData, wire.OpGetACL, wire.OpSetACL,
		wire.OpGetChildren, wire.OpSync, wire.OpPing, wire.OpGetChildren2, wire.OpMulti, wire.OpSetWatches, wire.OpCloseSession:
		return true
	}
	if op == wire.OpCheck {
		return v < V38
	}
	first, ok := Since[op]
	return ok && v >= first
}

// OpDeleteContainer is how a real server asks itself to delete a container. It
// lets clients ask too, whatever the ACLs say.
const OpDeleteContainer wire.Op = 20

// Writes says whether op becomes a transaction.
func Writes(op wire.Op) bool {
	switch op {
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL, wire.OpDelete, OpDeleteContainer,
		wire.OpSetData, wire.OpSetACL, wire.OpCheck, wire.OpMulti, wire.OpReconfig:
		return true
	}
	return false
}

// Creates says whether op makes a node.
func Creates(op wire.Op) bool {
	return op == wire.OpCreate || op == wire.OpCreate2 || op == wire.OpCreateContainer || op == wire.OpCreateTTL
}

// First returns the first operation of a multi, or else the request.
func (r *Request) First() *Request {
	if r.Op == wire.OpMulti && len(r.Multi) > 0 {
		return &r.Multi[0]
	}
	return r
}

// Has says whether a multi has an operation on a path.
func (r *Request) Has(path string) bool {
	return slices.ContainsFunc(r.Multi, func(op Request) bool { return op.Path == path })
}

// Null is a string, buffer or vector that is null, in its wire form.
var Null = []byte{0xff, 0xff, 0xff, 0xff}

// NullString stands for null in lists of paths and in ACLs. It is no text that
// a request can have, as JavaText leaves nothing but UTF-8.
const NullString = "\xff"

// Decode reads the record behind the request's header.
func (r *Request) Decode(d *wire.Decoder, version Version) {
	r.NullPath = bytes.HasPrefix(d.Rest(), Null)
	start := *d
	switch r.Op {
	case OpDeleteContainer:
		if version < V39 {
			r.Path = "\x00" // the path is not cut out of its record, and so always wrong
			r.NullPath = false
			break
		}
		var q wire.PathRequest
		q.Decode(d)
		r.Path = q.Path
	case wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber:
		var q wire.PathRequest
		q.Decode(d)
		r.Path = q.Path
	case wire.OpSetACL:
		var q wire.SetACLRequest
		q.Decode(d)
		r.Path, r.ACL, r.Version = q.Path, q.ACL, q.Version
	case wire.OpCheckWatches, wire.OpRemoveWatches:
		var q wire.WatcherTypeRequest
		q.Decode(d)
		r.Path, r.Flags = q.Path, q.Type
	case wire.OpAddWatch:
		var q wire.AddWatchRequest
		q.Decode(d)
		r.Path, r.Flags = q.Path, q.Mode
	case wire.OpSetWatches:
		var q wire.SetWatchesRequest
		q.Decode(d)
		r.Watches = wire.SetWatches2Request{
			RelativeZxid: q.RelativeZxid, Data: q.Data, Exist: q.Exist, Child: q.Child, Persistent: []string{}, Recursive: []string{},
		}
	case wire.OpSetWatches2:
		r.Watches.Decode(d)
	case wire.OpReconfig:
		r.Reconfig.Decode(d)
	case wire.OpAuth:
		r.Auth.Decode(d)
	case wire.OpSASL:
		var q wire.SASLRequest
		q.Decode(d)
		r.Token = q.Token
	case wire.OpMulti, wire.OpMultiRead:
		r.decodeMulti(d, version)
	default:
		r.decodeOp(d)
	}
	r.Bad = r.Bad || d.Err() != nil
	r.asJava(start)
}

// asJava replaces the strings by what Java makes of them. d is at the record
// that they are from.
func (r *Request) asJava(d wire.Decoder) {
	r.Path = JavaText(r.Path)
	for i := range r.ACL {
		a := &r.ACL[i]
		a.Scheme, a.ID = JavaText(a.Scheme), JavaText(a.ID)
		if a.Scheme == "" || a.ID == "" {
			defer r.markACL(d)
		}
	}
	w := &r.Watches
	for _, list := range [][]string{w.Data, w.Exist, w.Child, w.Persistent, w.Recursive} {
		for i := range list {
			if list[i] = JavaText(list[i]); list[i] == "" {
				defer r.markWatches(d)
			}
		}
	}
	r.Auth.Scheme = JavaText(r.Auth.Scheme)
}

// markACL puts NullString where the ACL has null, which has decoded as empty.
func (r *Request) markACL(d wire.Decoder) {
	d.Buffer() // path
	if r.Op != wire.OpSetACL {
		d.Buffer()
	}
	d.Int32()
	for i := range r.ACL {
		d.Int32()
		for _, s := range []*string{&r.ACL[i].Scheme, &r.ACL[i].ID} {
			if d.Buffer() == nil {
				*s = NullString
			}
		}
	}
}

// markWatches does so in the lists of setWatches.
func (r *Request) markWatches(d wire.Decoder) {
	d.Int64()
	w := &r.Watches
	for _, list := range [][]string{w.Data, w.Exist, w.Child, w.Persistent, w.Recursive} {
		d.Int32()
		for i := range list {
			if d.Buffer() == nil {
				list[i] = NullString
			}
		}
	}
}

// decodeOp reads the record of an operation that a multi or multiRead may hold,
// or of the two reads that are like theirs.
func (r *Request) decodeOp(d *wire.Decoder) {
	switch r.Op {
	case wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2:
		var q wire.PathWatchRequest
		q.Decode(d)
		r.Path, r.Watch = q.Path, q.Watch
	case wire.OpSetData:
		var q wire.SetDataRequest
		q.Decode(d)
		r.Path, r.Data, r.Version = q.Path, bytes.Clone(q.Data), q.Version
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer:
		var q wire.CreateRequest
		q.Decode(d)
		r.Path, r.Data, r.ACL, r.Flags, r.TTL = q.Path, bytes.Clone(q.Data), q.ACL, q.Flags, -1
	case wire.OpCreateTTL:
		var q wire.CreateTTLRequest
		q.Decode(d)
		r.Path, r.Data, r.ACL, r.Flags, r.TTL = q.Path, bytes.Clone(q.Data), q.ACL, q.Flags, q.TTL
	case wire.OpDelete, wire.OpCheck:
		var q wire.PathVersionRequest
		q.Decode(d)
		r.Path, r.Version = q.Path, q.Version
	}
}

func (r *Request) decodeMulti(d *wire.Decoder, version Version) {
	for {
		var h wire.MultiHeader
		h.Decode(d)
		if h.Done || d.Err() != nil {
			break
		}
		r.Multi = append(r.Multi, Request{Op: h.Op, NullPath: bytes.HasPrefix(d.Rest(), Null)})
		sub := &r.Multi[len(r.Multi)-1]
		start := *d
		if version < Since[h.Op] {
			r.Bad = true
		}
		reads := h.Op == wire.OpGetData || h.Op == wire.OpGetChildren
		if reads != (r.Op == wire.OpMultiRead) {
			r.Bad = true // a multi that mixes kinds
		}
		switch h.Op {
		case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL, wire.OpDelete, wire.OpCheck, wire.OpSetData,
			wire.OpGetData, wire.OpGetChildren:
			sub.decodeOp(d)
			sub.Watch = false // it has no meaning here
		default:
			d.Fail("operation in a multi")
		}
		if flags := sub.Flags; Creates(h.Op) {
			bad := sub.modeInMulti(version)
			if h.Op != wire.OpCreateTTL {
				r.NullACL = r.NullACL || sub.ACL == nil && version >= V37 && !r.Bad && knownMode(flags)
				r.Bad = r.Bad || bad
			}
		}
		sub.asJava(start)
	}
	if d.Err() != nil {
		r.Multi, r.NullACL = nil, false
	}
}

func knownMode(flags int32) bool {
	return flags >= wire.FlagPersistent && flags <= wire.FlagPersistentSequentialTTL
}

// modeInMulti adapts a create's opcode to its flags, which inside a multi go
// first (Op.Create). It returns true if the whole multi does not decode.
func (r *Request) modeInMulti(version Version) (bad bool) {
	if version < V35 {
		return false
	}
	withTTL := r.Flags == wire.FlagPersistentTTL || r.Flags == wire.FlagPersistentSequentialTTL
	switch {
	case r.Op == wire.OpCreateTTL && withTTL:
		return false
	case r.Op == wire.OpCreateTTL:
		r.Op, r.TTL = wire.OpCreate, -1
	case version >= V37 && (withTTL || !knownMode(r.Flags)):
		return true
	}
	switch {
	case withTTL:
		r.Bad = true // the server trips over it when it gets there
	case r.Flags == wire.FlagContainer:
		r.Op = wire.OpCreateContainer
	case version < V37:
		r.Op = wire.OpCreate // ZOOKEEPER-4026
	}
	return false
}
