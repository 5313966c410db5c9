package zktest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// record is what a write needs to know of a node that an earlier operation of
// the same multi may have changed (ChangeRecord).
type record struct {
	gone                       bool
	acl                        *acl
	version, aversion, creates int32
	children, size             int // size: bytes of data
	kind                       kind
}

// prep checks writes against the newest tree and turns them into changes
// (PrepRequestProcessor). Inside a multi, later operations see the earlier ones.
type prep struct {
	e     *Ensemble
	conn  *conn
	ahead map[string]record // only inside a multi
}

func (p *prep) lookup(path string) (record, bool) {
	if r, ok := p.ahead[path]; ok {
		return r, !r.gone
	}
	n := p.e.head.nodes[path]
	if n == nil {
		return record{}, false
	}
	return record{
		acl: n.acl, version: n.version, aversion: n.aversion, creates: n.creates,
		children: n.children.len(), size: len(n.data), kind: n.kind,
	}, true
}

func (p *prep) store(path string, r record) {
	if p.ahead != nil {
		p.ahead[path] = r
		switch path { // the root has two names
		case "":
			p.ahead[rootPath] = r
		case rootPath:
			p.ahead[""] = r
		}
	}
}

// write turns one operation into a change, or says which error it gets. The
// order of the checks is that of the real server, as it decides which of
// several errors a client sees.
func (p *prep) write(r *request) (change, int32) {
	switch r.op {
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		return p.create(r)
	case wire.OpDelete:
		return p.delete(r)
	case opDeleteContainer:
		return p.deleteContainer(r)
	case wire.OpSetData:
		return p.setData(r)
	case wire.OpSetACL:
		return p.setACL(r)
	case wire.OpCheck:
		return p.check(r)
	}
	return change{}, wire.ErrMarshalling
}

func (p *prep) create(r *request) (change, int32) {
	sequential, kind, wrong := p.e.createMode(r)
	if wrong != 0 && p.e.opts.Version > V34 {
		return change{}, wrong
	}
	if !strings.Contains(r.path, "/") || strings.Contains(r.path, "\x00") {
		return change{}, wire.ErrBadArguments
	}
	parentPath, _ := parentOf(r.path)
	fixed, code := p.e.fixACL(r.acl, p.conn.ids)
	if code != 0 {
		return change{}, code
	}
	parent, ok := p.lookup(parentPath)
	if !ok {
		return change{}, wire.ErrNoNode
	}
	if !parent.acl.allowed(wire.PermCreate, p.conn.ids) {
		return change{}, wire.ErrNoAuth
	}
	if wrong != 0 {
		return change{}, wrong
	}
	path := r.path
	if sequential {
		path += fmt.Sprintf("%010d", parent.creates)
	}
	if !p.e.opts.Version.validPath(path) {
		return change{}, wire.ErrBadArguments
	}
	if _, exists := p.lookup(path); exists {
		return change{}, wire.ErrNodeExists
	}
	if parent.kind == ephemeral {
		return change{}, wire.ErrNoChildrenForEphemerals
	}
	if code := p.checkQuota(path, 1, int64(len(r.data))); code != 0 {
		return change{}, code
	}
	parent.creates++
	parent.children++
	p.store(parentPath, parent)
	made := record{acl: fixed, size: len(r.data), kind: kind}
	if r.flags == wire.FlagEphemeral || r.flags == wire.FlagEphemeralSequential {
		made.kind = ephemeral // even of a container, as long as it is not committed
	}
	p.store(path, made)
	c := change{
		op: wire.OpCreate, reply: wire.OpCreate2, path: path, data: r.data, acl: p.written(fixed), kind: kind, version: parent.creates,
	}
	switch kind {
	case ephemeral:
		c.owner = p.conn.session.id
	case ttl:
		c.owner = r.ttl
	}
	if r.op == wire.OpCreate {
		c.reply = wire.OpCreate
	}
	return c, 0
}

// written returns what is left of an ACL when its transaction has been written
// and read again, as happens on the way to followers, and inside a multi.
// Then the two halves that Java writes a code point beyond U+FFFF in are lost.
func (p *prep) written(a *acl) *acl {
	if p.ahead == nil && len(p.e.members) == 1 {
		return a
	}
	list := javaACL(a.entries)
	if slices.Equal(list, a.entries) {
		return a
	}
	for i := range list {
		list[i].ID = javaText(list[i].ID)
	}
	return p.e.internACL(list)
}

// createMode reads the flags of a create, which each of its opcodes takes a little differently.
func (e *Ensemble) createMode(r *request) (sequential bool, k kind, code int32) {
	withTTL := false
	switch r.flags {
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
	if r.flags > wire.FlagEphemeralSequential && e.opts.Version < V35 {
		return false, 0, wire.ErrBadArguments
	}
	if withTTL && e.opts.NoTTL {
		return false, 0, wire.ErrUnimplemented
	}
	if withTTL && (r.ttl <= 0 || r.ttl > wire.MaxTTL) || !withTTL && r.ttl >= 0 {
		return false, 0, wire.ErrBadArguments
	}
	if !withTTL && r.op == wire.OpCreateTTL { // real servers end at this; there is no need to follow them
		return false, 0, wire.ErrBadArguments
	}
	switch r.op {
	case wire.OpCreateContainer:
		k = container
	case wire.OpCreateTTL:
		k = ttl
	}
	return sequential, k, 0
}

func (p *prep) delete(r *request) (change, int32) {
	if !strings.Contains(r.path, "/") || strings.Contains(r.path, "\x00") || p.e.opts.Version.special(r.path) {
		return change{}, wire.ErrBadArguments
	}
	parentPath, _ := parentOf(r.path)
	parent, ok := p.lookup(parentPath)
	if !ok {
		return change{}, wire.ErrNoNode
	}
	n, ok := p.lookup(r.path)
	if !ok && p.e.opts.Version <= V35 { // which look for the node first
		return change{}, wire.ErrNoNode
	}
	switch {
	case !parent.acl.allowed(wire.PermDelete, p.conn.ids):
		return change{}, wire.ErrNoAuth
	case !ok:
		return change{}, wire.ErrNoNode
	case r.version != -1 && r.version != n.version:
		return change{}, wire.ErrBadVersion
	case n.children > 0:
		return change{}, wire.ErrNotEmpty
	}
	parent.children--
	p.store(parentPath, parent)
	p.store(r.path, record{gone: true})
	return change{op: wire.OpDelete, reply: wire.OpDelete, path: r.path}, 0
}

func (p *prep) deleteContainer(r *request) (change, int32) {
	if !strings.Contains(r.path, "/") || strings.Contains(r.path, "\x00") || p.e.opts.Version.special(r.path) {
		return change{}, wire.ErrBadArguments
	}
	n, ok := p.lookup(r.path)
	switch {
	case !ok:
		return change{}, wire.ErrNoNode
	case n.children > 0:
		return change{}, wire.ErrNotEmpty
	case n.kind == ephemeral:
		return change{}, wire.ErrBadVersion
	}
	return change{op: wire.OpDelete, reply: wire.OpDelete, path: r.path}, 0
}

func (p *prep) setData(r *request) (change, int32) {
	if !p.e.opts.Version.validPath(r.path) {
		return change{}, wire.ErrBadArguments
	}
	n, ok := p.lookup(r.path)
	switch {
	case !ok:
		return change{}, wire.ErrNoNode
	case !n.acl.allowed(wire.PermWrite, p.conn.ids):
		return change{}, wire.ErrNoAuth
	}
	if code := p.checkQuota(r.path, 0, int64(len(r.data)-n.size)); code != 0 {
		return change{}, code
	}
	if r.version != -1 && r.version != n.version {
		return change{}, wire.ErrBadVersion
	}
	n.version++
	n.size = len(r.data)
	p.store(r.path, n)
	return change{op: wire.OpSetData, reply: wire.OpSetData, path: r.path, data: r.data, version: n.version}, 0
}

func (p *prep) setACL(r *request) (change, int32) {
	if !p.e.opts.Version.validPath(r.path) {
		return change{}, wire.ErrBadArguments
	}
	fixed, code := p.e.fixACL(r.acl, p.conn.ids)
	if code != 0 {
		return change{}, code
	}
	n, ok := p.lookup(r.path)
	switch {
	case !ok:
		return change{}, wire.ErrNoNode
	case !n.acl.allowed(wire.PermAdmin, p.conn.ids):
		return change{}, wire.ErrNoAuth
	case r.version != -1 && r.version != n.aversion:
		return change{}, wire.ErrBadVersion
	}
	return change{op: wire.OpSetACL, path: r.path, acl: p.written(fixed), version: n.aversion + 1}, 0
}

func (p *prep) check(r *request) (change, int32) {
	if !p.e.opts.Version.validPath(r.path) {
		return change{}, wire.ErrBadArguments
	}
	n, ok := p.lookup(r.path)
	switch {
	case !ok:
		return change{}, wire.ErrNoNode
	case !n.acl.allowed(wire.PermRead, p.conn.ids):
		return change{}, wire.ErrNoAuth
	case r.version != -1 && r.version != n.version:
		return change{}, wire.ErrBadVersion
	}
	return change{op: wire.OpCheck, reply: wire.OpCheck, path: r.path}, 0
}

// multi prepares all operations of a multi, and puts them into its transaction.
// If one fails, none is a change, and failed says how each ended. A code is that
// of the whole request.
func (p *prep) multi(ops []request, x *txn) (failed []wire.MultiResult, code int32) {
	if slices.ContainsFunc(ops, func(r request) bool { return r.nullPath }) {
		return nil, wire.ErrMarshalling // before the server looks at the first
	}
	p.ahead = map[string]record{}
	var changes []change
	for i := range ops {
		c, code := p.write(&ops[i])
		switch {
		case ops[i].bad, code == wire.ErrMarshalling:
			return nil, wire.ErrMarshalling
		case code == 0:
			changes = append(changes, c)
			continue
		}
		x.multi, x.undone, x.failed = true, changes, len(ops)-i
		return failedAt(i, len(ops), code), 0
	}
	x.multi, x.changes = true, changes
	return nil, 0
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

// newTxn takes the next zxid. A write that fails takes one too.
func (e *Ensemble) newTxn() *txn {
	e.zxid++
	return &txn{zxid: e.zxid, time: time.Now().UnixMilli()}
}

// commit applies a transaction to the newest tree and hands it to every
// member. Events for connections of members that keep up are queued when it
// returns; the reply to the writer comes behind them.
func (e *Ensemble) commit(x *txn) {
	if e.leader >= 0 && len(e.members) > 1 {
		e.members[e.leader].proposals.add(e.head.proposalSize(x, e.opts.Version))
	}
	e.head.apply(x, e.opts.Version, e.fire)
	for _, m := range e.members {
		switch {
		case m.tree == e.head:
			m.applied(x)
		case m.running:
			m.behind = append(m.behind, x)
			m.catchUp()
		}
	}
}

// fire triggers the watches of every member that keeps up. It sees each change once.
func (e *Ensemble) fire(f effect) {
	e.expectReap(f.path)
	if f.event == wire.EventNodeDeleted {
		e.expectReap(f.parent)
	}
	for _, m := range e.members {
		if m.tree == e.head {
			m.fire(f)
		}
	}
}

// reap deletes the containers and TTL nodes that are due (ContainerManager).
func (e *Ensemble) reap() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reaper = nil
	if e.closed {
		return
	}
	e.now = time.Now()
	if e.leader < 0 {
		e.reapBy(e.now.Add(e.opts.ReapInterval))
		return
	}
	due, next := e.head.reapable(e.now)
	if !next.IsZero() {
		e.reapBy(next)
	}
	for _, path := range due {
		x := e.newTxn()
		x.changes = []change{{op: wire.OpDelete, path: path}}
		e.commit(x)
	}
}

// expectReap arms the timer if a node that has changed will have to go.
func (e *Ensemble) expectReap(path string) {
	n := e.head.nodes[path]
	if n == nil || n.children.len() > 0 {
		return
	}
	switch {
	case n.kind == container && n.creates > 0:
		e.reapBy(time.Now().Add(e.opts.ReapInterval))
	case n.kind == ttl:
		e.reapBy(n.deadline())
	}
}

// reapBy lets the next reap be no later than at. No timer runs while nothing
// waits for it, so that a synctest bubble can come to rest.
func (e *Ensemble) reapBy(at time.Time) {
	if e.reaper != nil {
		if !at.Before(e.reapAt) {
			return
		}
		e.reaper.Stop()
	}
	e.reapAt = at
	e.reaper = time.AfterFunc(time.Until(at), e.reap)
}
