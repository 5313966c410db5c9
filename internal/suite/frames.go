package suite

import (
	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
)

// Welcome is the answer of an ordinary server to a ConnectRequest.
func Welcome(q wire.ConnectRequest) []byte {
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: RigPassword, HasReadOnly: true}
	if r.SessionID == 0 {
		r.SessionID = RigID
	}
	return Framed(r)
}

// Framed is a frame with these records.
func Framed(records ...wire.Record) []byte {
	b := wire.BeginFrame(nil)
	for _, r := range records {
		if r != nil {
			b = r.Append(b)
		}
	}
	wire.EndFrame(b, 0)
	return b
}

// Answer is a reply without an error; nil: without a body.
func Answer(xid int32, zxid int64, body wire.Record) []byte {
	return Framed(wire.ReplyHeader{Xid: xid, Zxid: zxid}, body)
}

// Refusal is a reply with an error.
func Refusal(xid int32, zxid int64, code zk.Code) []byte {
	return Framed(wire.ReplyHeader{Xid: xid, Zxid: zxid, Err: int32(code)})
}

// Happened is an event; zxid is -1 from servers before 3.9.
func Happened(typ zk.EventType, path string, zxid int64) []byte {
	return Framed(wire.ReplyHeader{Xid: wire.XidNotification, Zxid: zxid}, wire.WatcherEvent{Type: int32(typ), State: wire.StateSyncConnected, Path: path})
}

// Fitting is an answer without an error to any request that has one.
func Fitting(a Asked, zxid int64) []byte {
	var body wire.Record
	switch a.Op {
	case wire.OpGetData, wire.OpReconfig:
		body = wire.GetDataResponse{Data: []byte("data"), Stat: wire.Stat{Version: 1}}
	case wire.OpExists, wire.OpSetData, wire.OpSetACL:
		body = wire.Stat{Version: 1}
	case wire.OpGetChildren2:
		body = wire.Children2Response{Children: []string{"child"}}
	case wire.OpCreate, wire.OpSync:
		body = wire.PathResponse{Path: a.Path}
	case wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		body = wire.Create2Response{Path: a.Path}
	case wire.OpGetACL:
		body = wire.GetACLResponse{ACL: []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}}
	case wire.OpMulti, wire.OpMultiRead:
		var q wire.MultiRequest
		d := wire.NewDecoder(a.Body)
		q.Decode(&d)
		var all wire.MultiResponse
		for _, o := range q.Ops {
			all.Results = append(all.Results, wire.MultiResult{Op: o.Op})
		}
		body = all
	case wire.OpGetEphemerals:
		body = wire.ChildrenResponse{}
	case wire.OpAllChildrenNumber:
		body = wire.CountResponse{}
	case wire.OpWhoAmI:
		body = wire.WhoAmIResponse{}
	}
	return Answer(a.Xid, zxid, body)
}
