// Package samples holds one request and one reply of every type, as tables that tests
// of several packages go through: what is forgotten in one of them fails there. Only
// tests import it.
package samples

import (
	"reflect"

	"github.com/seed-9f8420c6/zk/wire"
)

// Path is that of every request which has one.
const Path = "/a"

var (
	acl  = []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}
	stat = wire.Stat{Czxid: 1, Mzxid: 2, Version: 1, DataLength: 4, NumChildren: 2}
	read = wire.GetDataResponse{Data: []byte("data"), Stat: stat}
)

// Requests are the records behind the headers of requests; nil where there is none.
var Requests = map[wire.Op]wire.Record{
	wire.OpCreate:            wire.CreateRequest{Path: Path, Data: []byte("data"), ACL: acl, Flags: wire.FlagEphemeral},
	wire.OpDelete:            wire.PathVersionRequest{Path: Path, Version: 1},
	wire.OpExists:            wire.PathWatchRequest{Path: Path, Watch: true},
	wire.OpGetData:           wire.PathWatchRequest{Path: Path, Watch: true},
	wire.OpSetData:           wire.SetDataRequest{Path: Path, Data: []byte("data"), Version: 1},
	wire.OpGetACL:            wire.PathRequest{Path: Path},
	wire.OpSetACL:            wire.SetACLRequest{Path: Path, ACL: acl, Version: 1},
	wire.OpGetChildren:       wire.PathWatchRequest{Path: Path, Watch: true},
	wire.OpSync:              wire.PathRequest{Path: Path},
	wire.OpPing:              nil,
	wire.OpGetChildren2:      wire.PathWatchRequest{Path: Path, Watch: true},
	wire.OpCheck:             wire.PathVersionRequest{Path: Path, Version: 1},
	wire.OpMulti:             wire.MultiRequest{Ops: []wire.MultiOp{{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: Path, Version: -1}}}},
	wire.OpCreate2:           wire.CreateRequest{Path: Path, Data: []byte("data"), ACL: acl},
	wire.OpReconfig:          wire.ReconfigRequest{Leaving: &leaving, ConfigID: -1},
	wire.OpCheckWatches:      wire.WatcherTypeRequest{Path: Path, Type: wire.WatcherAny},
	wire.OpRemoveWatches:     wire.WatcherTypeRequest{Path: Path, Type: wire.WatcherAny},
	wire.OpCreateContainer:   wire.CreateRequest{Path: Path, ACL: acl, Flags: wire.FlagContainer},
	wire.OpCreateTTL:         wire.CreateTTLRequest{Path: Path, ACL: acl, Flags: wire.FlagPersistentTTL, TTL: 1000},
	wire.OpMultiRead:         wire.MultiRequest{Ops: []wire.MultiOp{{Op: wire.OpGetData, Request: wire.PathWatchRequest{Path: Path}}}},
	wire.OpAuth:              wire.AuthRequest{Scheme: "digest", Auth: []byte("user:secret")},
	wire.OpSetWatches:        wire.SetWatchesRequest{RelativeZxid: 5, Data: []string{"/d"}, Exist: []string{"/e"}, Child: []string{"/c"}},
	wire.OpSASL:              wire.SASLRequest{Token: []byte("token")},
	wire.OpGetEphemerals:     wire.PathRequest{Path: Path},
	wire.OpAllChildrenNumber: wire.PathRequest{Path: Path},
	wire.OpSetWatches2:       wire.SetWatches2Request{RelativeZxid: 5, Data: []string{"/d"}, Persistent: []string{"/p"}, Recursive: []string{"/r"}},
	wire.OpAddWatch:          wire.AddWatchRequest{Path: Path, Mode: wire.AddWatchPersistentRecursive},
	wire.OpWhoAmI:            nil,
	wire.OpCloseSession:      nil,
}

var leaving = "3"

// Replies are the records behind the headers of replies, by the type of the request;
// nil where there is none.
var Replies = map[wire.Op]wire.Record{
	wire.OpNotification:      wire.WatcherEvent{Type: wire.EventNodeDeleted, State: wire.StateSyncConnected, Path: Path},
	wire.OpCreate:            wire.PathResponse{Path: Path},
	wire.OpDelete:            nil,
	wire.OpExists:            stat,
	wire.OpGetData:           read,
	wire.OpSetData:           stat,
	wire.OpGetACL:            wire.GetACLResponse{ACL: acl, Stat: stat},
	wire.OpSetACL:            stat,
	wire.OpGetChildren:       wire.ChildrenResponse{Children: []string{"a", "b"}},
	wire.OpSync:              wire.PathResponse{Path: Path},
	wire.OpPing:              nil,
	wire.OpGetChildren2:      wire.Children2Response{Children: []string{"a", "b/", ""}, Stat: stat},
	wire.OpCheck:             nil,
	wire.OpMulti:             wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpDelete}}},
	wire.OpCreate2:           wire.Create2Response{Path: Path, Stat: stat},
	wire.OpReconfig:          wire.GetDataResponse{Data: []byte("server.1=…"), Stat: stat},
	wire.OpCheckWatches:      nil,
	wire.OpRemoveWatches:     nil,
	wire.OpCreateContainer:   wire.Create2Response{Path: Path, Stat: stat},
	wire.OpCreateTTL:         wire.Create2Response{Path: Path, Stat: stat},
	wire.OpMultiRead:         wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpGetData, Data: []byte("data"), Stat: stat}}},
	wire.OpAuth:              nil,
	wire.OpSetWatches:        nil,
	wire.OpSASL:              wire.SASLResponse{Token: []byte("token")},
	wire.OpGetEphemerals:     wire.ChildrenResponse{Children: []string{"/a", "/b"}},
	wire.OpAllChildrenNumber: wire.CountResponse{Count: 7},
	wire.OpSetWatches2:       nil,
	wire.OpAddWatch:          wire.ErrorResponse{},
	wire.OpWhoAmI:            wire.WhoAmIResponse{Infos: []wire.ClientInfo{{AuthScheme: "ip", User: "127.0.0.1"}}},
	wire.OpCloseSession:      nil,
}

// PathOf returns the path of a request's record, or "".
func PathOf(rec wire.Record) string {
	if rec == nil {
		return ""
	}
	if path := reflect.ValueOf(rec).FieldByName("Path"); path.IsValid() {
		return path.String()
	}
	return ""
}
