package wire

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
