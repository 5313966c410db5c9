package wire

import "encoding/binary"

// Record is a record of the protocol. Every record type has Append with a value
// receiver, and Decode(*[Decoder]) with a pointer receiver.
//
// Append cannot fail and allocates only if dst is too small. Decode sets every
// field; after an error the fields mean nothing. It ignores bytes after the
// record, where newer servers may add fields. Decoded []byte fields alias the
// Decoder's input, strings are copies. Vectors and buffers are nil when null
// and empty when empty, in both directions; a null string decodes as "" unless
// the field is a *string.
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

// ACL gives the permissions Perms to the identity Scheme and ID.
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

// Stat is the metadata of a node.
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
	LastZxidSeen    int64 // a server that is behind it closes the connection
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
	Timeout         int32 // granted session timeout, ms; 0 or less: the session has expired
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
// and closeSession have no record after it.
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
