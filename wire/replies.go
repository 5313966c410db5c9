package wire

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
