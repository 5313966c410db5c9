package wire

import (
	"encoding/binary"
	"strconv"
)

// Record is a record of the protocol. Every record type has Append with a value
// receiver, and Decode(*[Decoder]) with a pointer receiver.
//
// Append cannot fail and allocates only if dst is too small. Decode sets every
// field; after an error the fields mean nothing. It does not look at bytes
// behind the record, where newer servers may add fields. Decoded []byte fields
// alias the Decoder's input, strings are copies. Vectors and buffers are nil
// when null and empty when empty, in both directions; a null string decodes as
// "" unless the field is a *string.
type Record interface{ Append(dst []byte) []byte }

// Sizes on the wire, in bytes. A minimum is that of a record whose strings,
// buffers and vectors are all empty.
const (
	statSize        = 68
	replyHeaderSize = 16
	multiHeaderSize = 9
	minACL          = 12
	minClientInfo   = 8
)

// ACL lets those whom Scheme and ID stand for do what Perms says.
type ACL struct {
	Perms      int32 // PermRead and so on
	Scheme, ID string
}

// Append appends the record to dst.
func (a ACL) Append(dst []byte) []byte {
	dst = AppendInt32(dst, a.Perms)
	dst = AppendString(dst, a.Scheme)
	return AppendString(dst, a.ID)
}

// Decode reads the record from d.
func (a *ACL) Decode(d *Decoder) {
	a.Perms = d.Int32()
	a.Scheme = d.String()
	a.ID = d.String()
}

func appendACLs(dst []byte, acls []ACL) []byte {
	if acls == nil {
		return AppendInt32(dst, -1)
	}
	dst = AppendInt32(dst, int32(len(acls)))
	for i := range acls {
		dst = acls[i].Append(dst)
	}
	return dst
}

func decodeACLs(d *Decoder) []ACL {
	n := d.Count(minACL)
	if n < 0 || d.err != nil {
		return nil
	}
	acls := make([]ACL, n)
	for i := range acls {
		acls[i].Decode(d)
	}
	return acls
}

// Stat is what the server keeps about a node beside its data.
type Stat struct {
	Czxid, Mzxid                int64 // transactions that created the node and last changed its data
	Ctime, Mtime                int64 // when these were, in ms since 1970 by the leader's clock
	Version, Cversion, Aversion int32 // numbers of changes to data, children (creates and deletes), ACL
	EphemeralOwner              int64 // session ID of an ephemeral node, else 0
	DataLength                  int32 // bytes
	NumChildren                 int32
	Pzxid                       int64 // transaction that last created or deleted a child
}

// Append appends the record to dst.
func (s Stat) Append(dst []byte) []byte {
	dst = AppendInt64(dst, s.Czxid)
	dst = AppendInt64(dst, s.Mzxid)
	dst = AppendInt64(dst, s.Ctime)
	dst = AppendInt64(dst, s.Mtime)
	dst = AppendInt32(dst, s.Version)
	dst = AppendInt32(dst, s.Cversion)
	dst = AppendInt32(dst, s.Aversion)
	dst = AppendInt64(dst, s.EphemeralOwner)
	dst = AppendInt32(dst, s.DataLength)
	dst = AppendInt32(dst, s.NumChildren)
	return AppendInt64(dst, s.Pzxid)
}

// Decode reads the record from d.
func (s *Stat) Decode(d *Decoder) {
	if d.Len() < statSize {
		d.Fail("stat cut short")
		*s = Stat{}
		return
	}
	// Fixed offsets after one check: this is on the path of nearly every reply.
	b := (*[statSize]byte)(d.buf[d.off:])
	d.off += statSize
	s.Czxid = int64(binary.BigEndian.Uint64(b[0:]))
	s.Mzxid = int64(binary.BigEndian.Uint64(b[8:]))
	s.Ctime = int64(binary.BigEndian.Uint64(b[16:]))
	s.Mtime = int64(binary.BigEndian.Uint64(b[24:]))
	s.Version = int32(binary.BigEndian.Uint32(b[32:]))
	s.Cversion = int32(binary.BigEndian.Uint32(b[36:]))
	s.Aversion = int32(binary.BigEndian.Uint32(b[40:]))
	s.EphemeralOwner = int64(binary.BigEndian.Uint64(b[44:]))
	s.DataLength = int32(binary.BigEndian.Uint32(b[52:]))
	s.NumChildren = int32(binary.BigEndian.Uint32(b[56:]))
	s.Pzxid = int64(binary.BigEndian.Uint64(b[60:]))
}

// ClientInfo is one identity of a session, as whoAmI reports it.
type ClientInfo struct{ AuthScheme, User string }

// Append appends the record to dst.
func (c ClientInfo) Append(dst []byte) []byte {
	dst = AppendString(dst, c.AuthScheme)
	return AppendString(dst, c.User)
}

// Decode reads the record from d.
func (c *ClientInfo) Decode(d *Decoder) {
	c.AuthScheme = d.String()
	c.User = d.String()
}

// ConnectRequest is the first frame from the client. It has no header.
type ConnectRequest struct {
	ProtocolVersion int32 // 0
	LastZxidSeen    int64 // a server that is behind it hangs up
	Timeout         int32 // wanted session timeout, ms
	SessionID       int64 // 0 for a new session
	Password        []byte
	ReadOnly        bool // a read-only server will do
	HasReadOnly     bool // the byte is on the wire; clients since 3.4 send it
}

// Append appends the record to dst.
func (c ConnectRequest) Append(dst []byte) []byte {
	dst = AppendInt32(dst, c.ProtocolVersion)
	dst = AppendInt64(dst, c.LastZxidSeen)
	dst = AppendInt32(dst, c.Timeout)
	dst = AppendInt64(dst, c.SessionID)
	dst = AppendBuffer(dst, c.Password)
	if c.HasReadOnly {
		dst = AppendBool(dst, c.ReadOnly)
	}
	return dst
}

// Decode reads the record from d.
func (c *ConnectRequest) Decode(d *Decoder) {
	c.ProtocolVersion = d.Int32()
	c.LastZxidSeen = d.Int64()
	c.Timeout = d.Int32()
	c.SessionID = d.Int64()
	c.Password = d.Buffer()
	c.HasReadOnly = d.Len() > 0
	c.ReadOnly = c.HasReadOnly && d.Bool()
}

// ConnectResponse is the first frame from the server. It has no header.
type ConnectResponse struct {
	ProtocolVersion int32 // 0
	Timeout         int32 // granted session timeout, ms; 0 or less says that the session is no more
	SessionID       int64
	Password        []byte // 16 bytes from a sound server; Decode takes any length
	ReadOnly        bool   // the server is read-only
	HasReadOnly     bool   // the byte is on the wire; servers since 3.4 send it to clients that did
}

// Append appends the record to dst.
func (c ConnectResponse) Append(dst []byte) []byte {
	dst = AppendInt32(dst, c.ProtocolVersion)
	dst = AppendInt32(dst, c.Timeout)
	dst = AppendInt64(dst, c.SessionID)
	dst = AppendBuffer(dst, c.Password)
	if c.HasReadOnly {
		dst = AppendBool(dst, c.ReadOnly)
	}
	return dst
}

// Decode reads the record from d.
func (c *ConnectResponse) Decode(d *Decoder) {
	c.ProtocolVersion = d.Int32()
	c.Timeout = d.Int32()
	c.SessionID = d.Int64()
	c.Password = d.Buffer()
	c.HasReadOnly = d.Len() > 0
	c.ReadOnly = c.HasReadOnly && d.Bool()
}

// RequestHeader begins every frame from the client but the first. ping, whoAmI
// and closeSession have nothing behind it.
type RequestHeader struct {
	Xid int32
	Op  Op
}

// Append appends the record to dst.
func (h RequestHeader) Append(dst []byte) []byte {
	dst = AppendInt32(dst, h.Xid)
	return AppendInt32(dst, int32(h.Op))
}

// Decode reads the record from d.
func (h *RequestHeader) Decode(d *Decoder) {
	h.Xid = d.Int32()
	h.Op = Op(d.Int32())
}

// ReplyHeader begins every frame from the server but the first. If Err is not
// ErrOK nothing follows that means anything, but for a sasl reply's null token.
type ReplyHeader struct {
	Xid  int32 // of the request, or XidNotification
	Zxid int64 // 0 or less when it says nothing
	Err  int32 // ErrOK and so on
}

// Append appends the record to dst.
func (h ReplyHeader) Append(dst []byte) []byte {
	dst = AppendInt32(dst, h.Xid)
	dst = AppendInt64(dst, h.Zxid)
	return AppendInt32(dst, h.Err)
}

// Decode reads the record from d.
func (h *ReplyHeader) Decode(d *Decoder) {
	if d.Len() < replyHeaderSize {
		d.Fail("reply header cut short")
		*h = ReplyHeader{}
		return
	}
	b := (*[replyHeaderSize]byte)(d.buf[d.off:])
	d.off += replyHeaderSize
	h.Xid = int32(binary.BigEndian.Uint32(b[0:]))
	h.Zxid = int64(binary.BigEndian.Uint64(b[4:]))
	h.Err = int32(binary.BigEndian.Uint32(b[12:]))
}

// MultiHeader precedes every operation and every result of a multi, and with
// Done set ends them. A client may stream a multi: {op, false, -1} and the
// operation's record for each, and [AppendMultiEnd].
type MultiHeader struct {
	Op   Op
	Done bool
	Err  int32 // -1 in a request; in a reply that of an OpError result, else 0
}

// Append appends the record to dst.
func (h MultiHeader) Append(dst []byte) []byte {
	dst = AppendInt32(dst, int32(h.Op))
	dst = AppendBool(dst, h.Done)
	return AppendInt32(dst, h.Err)
}

// Decode reads the record from d.
func (h *MultiHeader) Decode(d *Decoder) {
	h.Op = Op(d.Int32())
	h.Done = d.Bool()
	h.Err = d.Int32()
}

// AppendMultiEnd appends the header that ends a multi's operations or results.
func AppendMultiEnd(dst []byte) []byte {
	return MultiHeader{Op: OpError, Done: true, Err: -1}.Append(dst)
}

// CreateRequest is the request of create, create2 and createContainer.
type CreateRequest struct {
	Path  string
	Data  []byte // null is stored as null
	ACL   []ACL  // null and empty are invalid to the server
	Flags int32  // FlagPersistent and so on
}

// Append appends the record to dst.
func (r CreateRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	dst = AppendBuffer(dst, r.Data)
	dst = appendACLs(dst, r.ACL)
	return AppendInt32(dst, r.Flags)
}

// Decode reads the record from d.
func (r *CreateRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Data = d.Buffer()
	r.ACL = decodeACLs(d)
	r.Flags = d.Int32()
}

// CreateTTLRequest is the request of createTTL.
type CreateTTLRequest struct {
	Path  string
	Data  []byte // null is stored as null
	ACL   []ACL  // null and empty are invalid to the server
	Flags int32  // FlagPersistentTTL or FlagPersistentSequentialTTL
	TTL   int64  // ms, 1 to MaxTTL
}

// Append appends the record to dst.
func (r CreateTTLRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	dst = AppendBuffer(dst, r.Data)
	dst = appendACLs(dst, r.ACL)
	dst = AppendInt32(dst, r.Flags)
	return AppendInt64(dst, r.TTL)
}

// Decode reads the record from d.
func (r *CreateTTLRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Data = d.Buffer()
	r.ACL = decodeACLs(d)
	r.Flags = d.Int32()
	r.TTL = d.Int64()
}

// PathVersionRequest is the request of delete, and of check inside a multi.
type PathVersionRequest struct {
	Path    string
	Version int32 // of the data; -1 is any
}

// Append appends the record to dst.
func (r PathVersionRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	return AppendInt32(dst, r.Version)
}

// Decode reads the record from d.
func (r *PathVersionRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Version = d.Int32()
}

// PathWatchRequest is the request of exists, getData, getChildren and getChildren2.
type PathWatchRequest struct {
	Path  string
	Watch bool // false inside a multiRead
}

// Append appends the record to dst.
func (r PathWatchRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	return AppendBool(dst, r.Watch)
}

// Decode reads the record from d.
func (r *PathWatchRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Watch = d.Bool()
}

// PathRequest is the request of getACL, sync, getEphemerals and
// getAllChildrenNumber. For getEphemerals Path is a prefix.
type PathRequest struct{ Path string }

// Append appends the record to dst.
func (r PathRequest) Append(dst []byte) []byte { return AppendString(dst, r.Path) }

// Decode reads the record from d.
func (r *PathRequest) Decode(d *Decoder) { r.Path = d.String() }

// SetDataRequest is the request of setData.
type SetDataRequest struct {
	Path    string
	Data    []byte // null is stored as null
	Version int32  // of the data; -1 is any
}

// Append appends the record to dst.
func (r SetDataRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	dst = AppendBuffer(dst, r.Data)
	return AppendInt32(dst, r.Version)
}

// Decode reads the record from d.
func (r *SetDataRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Data = d.Buffer()
	r.Version = d.Int32()
}

// SetACLRequest is the request of setACL.
type SetACLRequest struct {
	Path    string
	ACL     []ACL // null and empty are invalid to the server
	Version int32 // of the ACL; -1 is any
}

// Append appends the record to dst.
func (r SetACLRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	dst = appendACLs(dst, r.ACL)
	return AppendInt32(dst, r.Version)
}

// Decode reads the record from d.
func (r *SetACLRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.ACL = decodeACLs(d)
	r.Version = d.Int32()
}

// ReconfigRequest is the request of reconfig. The lists are separated by
// commas. Null and "" differ: NewMembers that is not null replaces the ensemble.
type ReconfigRequest struct {
	Joining, Leaving, NewMembers *string
	ConfigID                     int64 // version of the current configuration; -1 is any
}

// Append appends the record to dst.
func (r ReconfigRequest) Append(dst []byte) []byte {
	dst = AppendNullString(dst, r.Joining)
	dst = AppendNullString(dst, r.Leaving)
	dst = AppendNullString(dst, r.NewMembers)
	return AppendInt64(dst, r.ConfigID)
}

// Decode reads the record from d.
func (r *ReconfigRequest) Decode(d *Decoder) {
	r.Joining = d.NullString()
	r.Leaving = d.NullString()
	r.NewMembers = d.NullString()
	r.ConfigID = d.Int64()
}

// WatcherTypeRequest is the request of checkWatches and removeWatches.
type WatcherTypeRequest struct {
	Path string
	Type int32 // WatcherChildren and so on
}

// Append appends the record to dst.
func (r WatcherTypeRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	return AppendInt32(dst, r.Type)
}

// Decode reads the record from d.
func (r *WatcherTypeRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Type = d.Int32()
}

// AddWatchRequest is the request of addWatch.
type AddWatchRequest struct {
	Path string
	Mode int32 // AddWatchPersistent or AddWatchPersistentRecursive
}

// Append appends the record to dst.
func (r AddWatchRequest) Append(dst []byte) []byte {
	dst = AppendString(dst, r.Path)
	return AppendInt32(dst, r.Mode)
}

// Decode reads the record from d.
func (r *AddWatchRequest) Decode(d *Decoder) {
	r.Path = d.String()
	r.Mode = d.Int32()
}

// AuthRequest is the request of auth, AuthPacket by its Java name. Its xid is XidAuth.
type AuthRequest struct {
	Type   int32 // 0
	Scheme string
	Auth   []byte // secret; "user:password" for digest
}

// Append appends the record to dst.
func (r AuthRequest) Append(dst []byte) []byte {
	dst = AppendInt32(dst, r.Type)
	dst = AppendString(dst, r.Scheme)
	return AppendBuffer(dst, r.Auth)
}

// Decode reads the record from d.
func (r *AuthRequest) Decode(d *Decoder) {
	r.Type = d.Int32()
	r.Scheme = d.String()
	r.Auth = d.Buffer()
}

// SetWatchesRequest is the request of setWatches. The lists hold server paths.
type SetWatchesRequest struct {
	RelativeZxid       int64 // changes after it fire the data and child watches at once
	Data, Exist, Child []string
}

// Append appends the record to dst.
func (r SetWatchesRequest) Append(dst []byte) []byte {
	dst = AppendInt64(dst, r.RelativeZxid)
	dst = AppendStrings(dst, r.Data)
	dst = AppendStrings(dst, r.Exist)
	return AppendStrings(dst, r.Child)
}

// Decode reads the record from d.
func (r *SetWatchesRequest) Decode(d *Decoder) {
	r.RelativeZxid = d.Int64()
	r.Data = d.Strings()
	r.Exist = d.Strings()
	r.Child = d.Strings()
}

// SetWatches2Request is the request of setWatches2, which supports persistent watches too.
type SetWatches2Request struct {
	RelativeZxid          int64 // changes after it fire the data and child watches at once
	Data, Exist, Child    []string
	Persistent, Recursive []string
}

// Append appends the record to dst.
func (r SetWatches2Request) Append(dst []byte) []byte {
	dst = AppendInt64(dst, r.RelativeZxid)
	dst = AppendStrings(dst, r.Data)
	dst = AppendStrings(dst, r.Exist)
	dst = AppendStrings(dst, r.Child)
	dst = AppendStrings(dst, r.Persistent)
	return AppendStrings(dst, r.Recursive)
}

// Decode reads the record from d.
func (r *SetWatches2Request) Decode(d *Decoder) {
	r.RelativeZxid = d.Int64()
	r.Data = d.Strings()
	r.Exist = d.Strings()
	r.Child = d.Strings()
	r.Persistent = d.Strings()
	r.Recursive = d.Strings()
}

// SASLRequest is the request of sasl.
type SASLRequest struct {
	Token []byte // empty, not null, when the mechanism has no initial response
}

// Append appends the record to dst.
func (r SASLRequest) Append(dst []byte) []byte { return AppendBuffer(dst, r.Token) }

// Decode reads the record from d.
func (r *SASLRequest) Decode(d *Decoder) { r.Token = d.Buffer() }

// MultiOp is one operation of a multi (CreateRequest, CreateTTLRequest,
// PathVersionRequest, SetDataRequest) or a multiRead (PathWatchRequest).
type MultiOp struct {
	Op      Op
	Request Record
}

// MultiRequest is the request of multi and multiRead.
type MultiRequest struct{ Ops []MultiOp }

// Append appends the record to dst.
func (m MultiRequest) Append(dst []byte) []byte {
	for _, op := range m.Ops {
		dst = MultiHeader{Op: op.Op, Err: -1}.Append(dst)
		dst = op.Request.Append(dst)
	}
	return AppendMultiEnd(dst)
}

// Decode reads the record from d. The requests are values, not pointers. An
// operation that neither multi nor multiRead has is an error; one that only
// the other has is not.
func (m *MultiRequest) Decode(d *Decoder) {
	m.Ops = nil
	// Operations have no count in front. They are counted in a pass of its own,
	// so that they take one slice of the right size, and none if they do not decode.
	ahead, n := *d, 0
	for h := (MultiHeader{}); ; n++ {
		if h.Decode(&ahead); h.Done || ahead.err != nil {
			break
		}
		skipMultiOp(&ahead, h.Op)
	}
	if ahead.err != nil {
		*d = ahead
		return
	}
	m.Ops = make([]MultiOp, n)
	for i := range m.Ops {
		var h MultiHeader
		h.Decode(d)
		m.Ops[i] = MultiOp{Op: h.Op, Request: decodeMultiOp(d, h.Op)}
	}
	d.skip(multiHeaderSize)
}

func decodeMultiOp(d *Decoder, op Op) Record {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer:
		var r CreateRequest
		r.Decode(d)
		return r
	case OpCreateTTL:
		var r CreateTTLRequest
		r.Decode(d)
		return r
	case OpDelete, OpCheck:
		var r PathVersionRequest
		r.Decode(d)
		return r
	case OpSetData:
		var r SetDataRequest
		r.Decode(d)
		return r
	default: // OpGetData, OpGetChildren: skipMultiOp has let nothing else through
		var r PathWatchRequest
		r.Decode(d)
		return r
	}
}

// skipMultiOp is decodeMultiOp without a result.
func skipMultiOp(d *Decoder, op Op) {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
		d.Buffer()
		d.Buffer()
		for range max(d.Count(minACL), 0) {
			d.skip(4)
			d.Buffer()
			d.Buffer()
		}
		d.skip(4)
		if op == OpCreateTTL {
			d.skip(8)
		}
	case OpDelete, OpCheck:
		d.Buffer()
		d.skip(4)
	case OpSetData:
		d.Buffer()
		d.Buffer()
		d.skip(4)
	case OpGetData, OpGetChildren:
		d.Buffer()
		d.skip(1)
	default:
		d.Fail("operation " + strconv.Itoa(int(op)) + " in a multi")
	}
}

// PathResponse is the reply of create and sync.
type PathResponse struct{ Path string }

// Append appends the record to dst.
func (r PathResponse) Append(dst []byte) []byte { return AppendString(dst, r.Path) }

// Decode reads the record from d.
func (r *PathResponse) Decode(d *Decoder) { r.Path = d.String() }

// Create2Response is the reply of create2, createContainer and createTTL.
// The reply of exists, setData and setACL is a bare Stat.
type Create2Response struct {
	Path string
	Stat Stat
}

// Append appends the record to dst.
func (r Create2Response) Append(dst []byte) []byte {
	return r.Stat.Append(AppendString(dst, r.Path))
}

// Decode reads the record from d.
func (r *Create2Response) Decode(d *Decoder) {
	r.Path = d.String()
	r.Stat.Decode(d)
}

// GetDataResponse is the reply of getData and reconfig.
type GetDataResponse struct {
	Data []byte // null if the node was made so
	Stat Stat
}

// Append appends the record to dst.
func (r GetDataResponse) Append(dst []byte) []byte {
	return r.Stat.Append(AppendBuffer(dst, r.Data))
}

// Decode reads the record from d.
func (r *GetDataResponse) Decode(d *Decoder) {
	r.Data = d.Buffer()
	r.Stat.Decode(d)
}

// GetACLResponse is the reply of getACL.
type GetACLResponse struct {
	ACL  []ACL
	Stat Stat
}

// Append appends the record to dst.
func (r GetACLResponse) Append(dst []byte) []byte {
	return r.Stat.Append(appendACLs(dst, r.ACL))
}

// Decode reads the record from d.
func (r *GetACLResponse) Decode(d *Decoder) {
	r.ACL = decodeACLs(d)
	r.Stat.Decode(d)
}

// ChildrenResponse is the reply of getChildren (names) and getEphemerals (server paths).
type ChildrenResponse struct{ Children []string }

// Append appends the record to dst.
func (r ChildrenResponse) Append(dst []byte) []byte { return AppendStrings(dst, r.Children) }

// Decode reads the record from d.
func (r *ChildrenResponse) Decode(d *Decoder) { r.Children = d.Strings() }

// Children2Response is the reply of getChildren2.
type Children2Response struct {
	Children []string // names, in no order
	Stat     Stat
}

// Append appends the record to dst.
func (r Children2Response) Append(dst []byte) []byte {
	return r.Stat.Append(AppendStrings(dst, r.Children))
}

// Decode reads the record from d.
func (r *Children2Response) Decode(d *Decoder) {
	r.Children = d.Strings()
	r.Stat.Decode(d)
}

// CountResponse is the reply of getAllChildrenNumber.
type CountResponse struct {
	Count int32 // nodes below the path, at any depth
}

// Append appends the record to dst.
func (r CountResponse) Append(dst []byte) []byte { return AppendInt32(dst, r.Count) }

// Decode reads the record from d.
func (r *CountResponse) Decode(d *Decoder) { r.Count = d.Int32() }

// ErrorResponse is the reply of addWatch, with ErrOK in it.
type ErrorResponse struct{ Err int32 }

// Append appends the record to dst.
func (r ErrorResponse) Append(dst []byte) []byte { return AppendInt32(dst, r.Err) }

// Decode reads the record from d.
func (r *ErrorResponse) Decode(d *Decoder) { r.Err = d.Int32() }

// WhoAmIResponse is the reply of whoAmI.
type WhoAmIResponse struct{ Infos []ClientInfo }

// Append appends the record to dst.
func (r WhoAmIResponse) Append(dst []byte) []byte {
	if r.Infos == nil {
		return AppendInt32(dst, -1)
	}
	dst = AppendInt32(dst, int32(len(r.Infos)))
	for i := range r.Infos {
		dst = r.Infos[i].Append(dst)
	}
	return dst
}

// Decode reads the record from d.
func (r *WhoAmIResponse) Decode(d *Decoder) {
	r.Infos = nil
	n := d.Count(minClientInfo)
	if n < 0 || d.err != nil {
		return
	}
	r.Infos = make([]ClientInfo, n)
	for i := range r.Infos {
		r.Infos[i].Decode(d)
	}
}

// WatcherEvent is the record of a notification. Its header has XidNotification.
type WatcherEvent struct {
	Type  int32 // EventNodeCreated and so on
	State int32 // StateSyncConnected
	Path  string
}

// Append appends the record to dst.
func (e WatcherEvent) Append(dst []byte) []byte {
	dst = AppendInt32(dst, e.Type)
	dst = AppendInt32(dst, e.State)
	return AppendString(dst, e.Path)
}

// Decode reads the record from d.
func (e *WatcherEvent) Decode(d *Decoder) {
	e.Type = d.Int32()
	e.State = d.Int32()
	e.Path = d.String()
}

// SASLResponse is the reply of sasl.
type SASLResponse struct {
	Token []byte // null in GSSAPI's last reply and after a failure
}

// Append appends the record to dst.
func (r SASLResponse) Append(dst []byte) []byte { return AppendBuffer(dst, r.Token) }

// Decode reads the record from d.
func (r *SASLResponse) Decode(d *Decoder) { r.Token = d.Buffer() }

// MultiResult is one result in the reply of a multi or multiRead, header
// included. Op is the type as the reply says it, which decides what follows:
//
//	OpCreate                 Path
//	OpCreate2                Path, Stat (also for containers and TTL nodes)
//	OpDelete, OpCheck        nothing
//	OpSetData                Stat
//	OpGetChildren            Children
//	OpGetData                Data, Stat
//	OpError                  Err
type MultiResult struct {
	Op       Op
	Err      int32 // ErrOK unless Op is OpError; there ErrOK is an operation that was rolled back
	Path     string
	Stat     Stat
	Data     []byte
	Children []string
}

// Append appends the record to dst. An Op that has no results appends the header only.
func (r MultiResult) Append(dst []byte) []byte {
	dst = MultiHeader{Op: r.Op, Err: r.Err}.Append(dst)
	switch r.Op {
	case OpCreate:
		dst = AppendString(dst, r.Path)
	case OpCreate2:
		dst = r.Stat.Append(AppendString(dst, r.Path))
	case OpSetData:
		dst = r.Stat.Append(dst)
	case OpGetChildren:
		dst = AppendStrings(dst, r.Children)
	case OpGetData:
		dst = r.Stat.Append(AppendBuffer(dst, r.Data))
	case OpError:
		dst = AppendInt32(dst, r.Err)
	}
	return dst
}

// Decode reads the record from d, which must not be at the end of the results.
func (r *MultiResult) Decode(d *Decoder) {
	if !r.Next(d) {
		d.Fail("end of a multi for a result")
	}
}

// Next reads the next result from d. It returns false behind the last one, or
// on an error, so that results can be read one by one without a slice of them.
func (r *MultiResult) Next(d *Decoder) bool {
	*r = MultiResult{}
	h, ok := nextResult(d)
	if !ok {
		return false
	}
	r.Op, r.Err = h.Op, h.Err
	switch h.Op {
	case OpCreate:
		r.Path = d.String()
	case OpCreate2:
		r.Path = d.String()
		r.Stat.Decode(d)
	case OpSetData:
		r.Stat.Decode(d)
	case OpGetChildren:
		r.Children = d.Strings()
	case OpGetData:
		r.Data = d.Buffer()
		r.Stat.Decode(d)
	case OpError:
		r.Err = d.Int32() // repeats the header's, and is the one that the Java client takes
	}
	return d.err == nil
}

// skipMultiResult is Next without a result.
func skipMultiResult(d *Decoder) bool {
	h, ok := nextResult(d)
	if !ok {
		return false
	}
	switch h.Op {
	case OpCreate:
		d.Buffer()
	case OpCreate2, OpGetData:
		d.Buffer()
		d.skip(statSize)
	case OpSetData:
		d.skip(statSize)
	case OpGetChildren:
		for range max(d.Count(4), 0) {
			d.Buffer()
		}
	case OpError:
		d.skip(4)
	}
	return d.err == nil
}

// nextResult reads and checks a result's header; false is the end or an error.
func nextResult(d *Decoder) (h MultiHeader, ok bool) {
	if h.Decode(d); h.Done || d.err != nil {
		return h, false
	}
	switch h.Op {
	case OpError:
		return h, true
	case OpCreate, OpCreate2, OpDelete, OpCheck, OpSetData, OpGetChildren, OpGetData:
		if h.Err != ErrOK {
			d.Fail("error " + strconv.Itoa(int(h.Err)) + " with a result of type " + strconv.Itoa(int(h.Op)))
		}
	default:
		d.Fail("result of type " + strconv.Itoa(int(h.Op)) + " in a multi")
	}
	return h, d.err == nil
}

// MultiResponse is the reply of multi and multiRead. A multi that failed has
// ErrOK in its ReplyHeader and OpError in all results.
type MultiResponse struct{ Results []MultiResult }

// Append appends the record to dst.
func (m MultiResponse) Append(dst []byte) []byte {
	for i := range m.Results {
		dst = m.Results[i].Append(dst)
	}
	return AppendMultiEnd(dst)
}

// Decode reads the record from d. A result takes 9 bytes or more on the wire
// and 144 in memory; use [MultiResult.Next] where that multiple matters.
func (m *MultiResponse) Decode(d *Decoder) {
	m.Results = nil
	// As in MultiRequest.Decode, a first pass counts.
	ahead, n := *d, 0
	for skipMultiResult(&ahead) {
		n++
	}
	if ahead.err != nil {
		*d = ahead
		return
	}
	m.Results = make([]MultiResult, n)
	for i := range m.Results {
		m.Results[i].Decode(d)
	}
	d.skip(multiHeaderSize)
}
