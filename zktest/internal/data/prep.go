package data

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// Options are what an ensemble is like, as far as it decides what a write does.
type Options struct {
	Version      Version
	Members      int  // of the ensemble
	NoTTL        bool // extendedTypesEnabled=false
	EnforceQuota bool // hard limits of quotas are enforced, from 3.7 on
	X509, SASL   bool // ACLs may have these schemes
}

// Caller is who asks for a write.
type Caller struct {
	IDs     []Identity
	Session int64
}

// Prep checks writes against the newest tree and turns them into transactions
// (PrepRequestProcessor).
type Prep struct {
	Options
	Head   *Tree // after every transaction
	acls   map[string]*ACL
	config int64 // version of the configuration
}

// NewPrep returns a Prep with the tree of a server that begins with zxid.
// config is the content of its configuration's node.
func NewPrep(o Options, zxid int64, config []byte) *Prep {
	return &Prep{Options: o, Head: NewTree(o.Version, zxid, config), acls: map[string]*ACL{}, config: zxid}
}

// Write puts one operation into x, or says which error it gets.
func (p *Prep) Write(by Caller, r *Request, x *Txn) int32 {
	w := writer{Prep: p, by: by}
	c, code := w.write(r)
	if code == 0 {
		x.Changes = []Change{c}
	}
	return code
}

// Multi puts all operations of a multi into x. If one fails, none is a change,
// and failed says how each ended. A code is that of the whole request.
func (p *Prep) Multi(by Caller, ops []Request, x *Txn) (failed []wire.MultiResult, code int32) {
	if slices.ContainsFunc(ops, func(r Request) bool { return r.NullPath }) {
		return nil, wire.ErrMarshalling // before the server looks at the first
	}
	w := writer{Prep: p, by: by, ahead: map[string]record{}}
	var changes []Change
	for i := range ops {
		c, code := w.write(&ops[i])
		switch {
		case ops[i].Bad, code == wire.ErrMarshalling:
			return nil, wire.ErrMarshalling
		case code == 0:
			changes = append(changes, c)
			continue
		}
		x.multi, x.undone, x.failed = true, changes, len(ops)-i
		return failedAt(i, len(ops), code), 0
	}
	x.multi, x.Changes = true, changes
	return nil, 0
}

// FailMulti makes x the transaction of a multi of n operations, the first of
// which failed, and returns their results.
func (x *Txn) FailMulti(n int, code int32) []wire.MultiResult {
	x.multi, x.failed = true, n
	return failedAt(0, n, code)
}

// record is what a write needs to know of a node that an earlier operation of
// the same multi may have changed (ChangeRecord).
type record struct {
	gone                       bool
	acl                        *ACL
	version, aversion, creates int32
	children, size             int // size: bytes of data
	kind                       kind
}

// writer turns the operations of one request into changes. Inside a multi,
// later operations see the earlier ones.
type writer struct {
	*Prep
	by    Caller
	ahead map[string]record // only inside a multi
}

func (w *writer) lookup(path string) (record, bool) {
	if r, ok := w.ahead[path]; ok {
		return r, !r.gone
	}
	n := w.Head.nodes[path]
	if n == nil {
		return record{}, false
	}
	return record{
		acl: n.ACL, version: n.version, aversion: n.aversion, creates: n.creates,
		children: n.children.len(), size: len(n.Data), kind: n.kind,
	}, true
}

func (w *writer) store(path string, r record) {
	if w.ahead != nil {
		w.ahead[path] = r
		switch path { // the root has two names
		case "":
			w.ahead[RootPath] = r
		case RootPath:
			w.ahead[""] = r
		}
	}
}

// write turns one operation into a change, or says which error it gets. The
// order of the checks is that of the real server, as it decides which of
// several errors a client sees.
func (w *writer) write(r *Request) (Change, int32) {
	switch r.Op {
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		return w.create(r)
	case wire.OpDelete:
		return w.delete(r)
	case OpDeleteContainer:
		return w.deleteContainer(r)
	case wire.OpSetData:
		return w.setData(r)
	case wire.OpSetACL:
		return w.setACL(r)
	case wire.OpCheck:
		return w.check(r)
	}
	return Change{}, wire.ErrMarshalling
}

func (w *writer) create(r *Request) (Change, int32) {
	sequential, kind, wrong := w.createMode(r)
	if wrong != 0 && w.Version > V34 {
		return Change{}, wrong
	}
	if !strings.Contains(r.Path, "/") || strings.Contains(r.Path, "\x00") {
		return Change{}, wire.ErrBadArguments
	}
	parentPath, _ := parentOf(r.Path)
	fixed, code := w.fixACL(r.ACL, w.by.IDs)
	if code != 0 {
		return Change{}, code
	}
	parent, ok := w.lookup(parentPath)
	if !ok {
		return Change{}, wire.ErrNoNode
	}
	if !parent.acl.Allowed(wire.PermCreate, w.by.IDs) {
		return Change{}, wire.ErrNoAuth
	}
	if wrong != 0 {
		return Change{}, wrong
	}
	path := r.Path
	if sequential {
		path += fmt.Sprintf("%010d", parent.creates)
	}
	if !w.Version.ValidPath(path) {
		return Change{}, wire.ErrBadArguments
	}
	if _, exists := w.lookup(path); exists {
		return Change{}, wire.ErrNodeExists
	}
	if parent.kind == ephemeral {
		return Change{}, wire.ErrNoChildrenForEphemerals
	}
	if code := w.checkQuota(path, 1, int64(len(r.Data))); code != 0 {
		return Change{}, code
	}
	parent.creates++
	parent.children++
	w.store(parentPath, parent)
	made := record{acl: fixed, size: len(r.Data), kind: kind}
	if r.Flags == wire.FlagEphemeral || r.Flags == wire.FlagEphemeralSequential {
		made.kind = ephemeral // even of a container, as long as it is not committed
	}
	w.store(path, made)
	c := Change{
		Op: wire.OpCreate, Reply: wire.OpCreate2, Path: path, Data: r.Data, ACL: w.written(fixed), kind: kind, version: parent.creates,
	}
	switch kind {
	case ephemeral:
		c.owner = w.by.Session
	case ttl:
		c.owner = r.TTL
	}
	if r.Op == wire.OpCreate {
		c.Reply = wire.OpCreate
	}
	return c, 0
}

// written returns what is left of an ACL when its transaction has been written
// and read again, as happens on the way to followers, and inside a multi.
// Then the two halves that Java writes a code point beyond U+FFFF in are lost.
func (w *writer) written(a *ACL) *ACL {
	if w.ahead == nil && w.Members == 1 {
		return a
	}
	list := JavaACL(a.Entries)
	if slices.Equal(list, a.Entries) {
		return a
	}
	for i := range list {
		list[i].ID = JavaText(list[i].ID)
	}
	return w.internACL(list)
}

// CheckMode says which error the flags of a create get, or 0.
func (p *Prep) CheckMode(r *Request) int32 {
	_, _, code := p.createMode(r)
	return code
}

// createMode reads the flags of a create, which each of its opcodes takes a little differently.
func (p *Prep) createMode(r *Request) (sequential bool, k kind, code int32) {
	withTTL := false
	switch r.Flags {
	case wire.FlagPersistent:
	case wire.FlagEphemeral:
		k = ephemeral
	case wire.FlagPersistentSequential:
		sequential = true
	case wire.FlagEphemeralSequential:
		k, sequential = ephemeral, true
	case wire.FlagContainer:
	case wire.FlagPersistentTTL:
		withTTL = true
	case wire.FlagPersistentSequentialTTL:
		withTTL, sequential = true, true
	default:
		return false, 0, wire.ErrBadArguments
	}
	if r.Flags > wire.FlagEphemeralSequential && p.Version < V35 {
		return false, 0, wire.ErrBadArguments
	}
	if withTTL && p.NoTTL {
		return false, 0, wire.ErrUnimplemented
	}
	if withTTL && (r.TTL <= 0 || r.TTL > wire.MaxTTL) || !withTTL && r.TTL >= 0 {
		return false, 0, wire.ErrBadArguments
	}
	if !withTTL && r.Op == wire.OpCreateTTL { // real servers end at this; there is no need to follow them
		return false, 0, wire.ErrBadArguments
	}
	switch r.Op {
	case wire.OpCreateContainer:
		k = container
	case wire.OpCreateTTL:
		k = ttl
	}
	return sequential, k, 0
}

func (w *writer) delete(r *Request) (Change, int32) {
	if !strings.Contains(r.Path, "/") || strings.Contains(r.Path, "\x00") || w.Version.special(r.Path) {
		return Change{}, wire.ErrBadArguments
	}
	parentPath, _ := parentOf(r.Path)
	parent, ok := w.lookup(parentPath)
	if !ok {
		return Change{}, wire.ErrNoNode
	}
	n, ok := w.lookup(r.Path)
	if !ok && w.Version <= V35 { // which look for the node first
		return Change{}, wire.ErrNoNode
	}
	switch {
	case !parent.acl.Allowed(wire.PermDelete, w.by.IDs):
		return Change{}, wire.ErrNoAuth
	case !ok:
		return Change{}, wire.ErrNoNode
	case r.Version != -1 && r.Version != n.version:
		return Change{}, wire.ErrBadVersion
	case n.children > 0:
		return Change{}, wire.ErrNotEmpty
	}
	parent.children--
	w.store(parentPath, parent)
	w.store(r.Path, record{gone: true})
	return Change{Op: wire.OpDelete, Reply: wire.OpDelete, Path: r.Path}, 0
}

func (w *writer) deleteContainer(r *Request) (Change, int32) {
	if !strings.Contains(r.Path, "/") || strings.Contains(r.Path, "\x00") || w.Version.special(r.Path) {
		return Change{}, wire.ErrBadArguments
	}
	n, ok := w.lookup(r.Path)
	switch {
	case !ok:
		return Change{}, wire.ErrNoNode
	case n.children > 0:
		return Change{}, wire.ErrNotEmpty
	case n.kind == ephemeral:
		return Change{}, wire.ErrBadVersion
	}
	return Change{Op: wire.OpDelete, Reply: wire.OpDelete, Path: r.Path}, 0
}

// allowed returns a znode that the caller may use in a way, or the error code.
func (w *writer) allowed(path string, perm int32) (record, int32) {
	n, ok := w.lookup(path)
	switch {
	case !ok:
		return record{}, wire.ErrNoNode
	case !n.acl.Allowed(perm, w.by.IDs):
		return record{}, wire.ErrNoAuth
	}
	return n, 0
}

func (w *writer) setData(r *Request) (Change, int32) {
	if !w.Version.ValidPath(r.Path) {
		return Change{}, wire.ErrBadArguments
	}
	n, code := w.allowed(r.Path, wire.PermWrite)
	if code != 0 {
		return Change{}, code
	}
	if code := w.checkQuota(r.Path, 0, int64(len(r.Data)-n.size)); code != 0 {
		return Change{}, code
	}
	if r.Version != -1 && r.Version != n.version {
		return Change{}, wire.ErrBadVersion
	}
	n.version++
	n.size = len(r.Data)
	w.store(r.Path, n)
	return Change{Op: wire.OpSetData, Reply: wire.OpSetData, Path: r.Path, Data: r.Data, version: n.version}, 0
}

func (w *writer) setACL(r *Request) (Change, int32) {
	if !w.Version.ValidPath(r.Path) {
		return Change{}, wire.ErrBadArguments
	}
	fixed, code := w.fixACL(r.ACL, w.by.IDs)
	if code != 0 {
		return Change{}, code
	}
	n, code := w.allowed(r.Path, wire.PermAdmin)
	if code != 0 {
		return Change{}, code
	}
	if r.Version != -1 && r.Version != n.aversion {
		return Change{}, wire.ErrBadVersion
	}
	return Change{Op: wire.OpSetACL, Path: r.Path, ACL: w.written(fixed), version: n.aversion + 1}, 0
}

func (w *writer) check(r *Request) (Change, int32) {
	if !w.Version.ValidPath(r.Path) {
		return Change{}, wire.ErrBadArguments
	}
	n, code := w.allowed(r.Path, wire.PermRead)
	if code != 0 {
		return Change{}, code
	}
	if r.Version != -1 && r.Version != n.version {
		return Change{}, wire.ErrBadVersion
	}
	return Change{Op: wire.OpCheck, Reply: wire.OpCheck, Path: r.Path}, 0
}

// failedAt returns the results of a multi of n operations whose i-th failed.
func failedAt(i, n int, code int32) []wire.MultiResult {
	failed := make([]wire.MultiResult, n)
	for k := range failed {
		failed[k].Op = wire.OpError
		switch {
		case k == i:
			failed[k].Err = code
		case k > i:
			failed[k].Err = wire.ErrRuntimeInconsistency
		}
	}
	return failed
}
