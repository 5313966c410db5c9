package sim

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// build makes the trace from the servers' log and what each side noted.
func (s *simulation) build() {
	if s.frames == nil {
		return
	}
	tr := &s.trace
	tr.Roomy, tr.Lagging, tr.Chans = s.roomy, s.lagging, s.out
	tr.Log = make([]simEntry, 0, len(s.frames)*9/8) // and its transactions
	for i := range s.out {
		s.nevents += int64(len(s.out[i].Recv))
	}
	type frameKey struct {
		conn int64
		xid  int32
	}
	requests := map[frameKey]*zktest.Frame{}
	ends := map[int64]int64{}
	replies := map[frameKey]int{}
	owner := map[simKey]*simWorker{}
	workers := append([]*simWorker{s.first}, s.workers...)
	for _, w := range workers {
		for _, k := range w.keys {
			owner[simKey{k.op, s.chroot + k.path}] = w
		}
	}
	type workerConn struct {
		w    *simWorker
		conn int64
	}
	sent := map[workerConn][]*zktest.Frame{}
	lastSet := map[int64]int{}
	setting := map[int64]bool{}
	under := func(conn int64) bool { return conn >= 2 && conn < int64(len(s.conns))+2 }
	done := map[frameKey]int64{} // zxid of a request that succeeded
	for i := range s.frames {
		if f := &s.frames[i]; f.Dir == zktest.ToClient && f.Xid > 0 && f.Err == 0 && !simFailed(f) {
			done[frameKey{f.Conn, f.Xid}] = f.Zxid
		}
	}
	for i := range s.frames {
		f := &s.frames[i]
		at := f.Time.Sub(s.start)
		switch {
		case f.Dir == zktest.FromClient:
			if zxid, ok := done[frameKey{f.Conn, f.Xid}]; ok { // its events are logged before its reply
				if ch := simChanges(f); len(ch) > 0 {
					s.nwrites++
					tr.Log = append(tr.Log, simEntry{Kind: simTxn, Zxid: zxid, At: at, Changes: ch, frame: f})
				}
			}
			if f.Xid > 0 {
				requests[frameKey{f.Conn, f.Xid}] = f
			}
			if under(f.Conn) {
				tr.Log = append(tr.Log, simEntry{Kind: simAsk, Conn: f.Conn, At: at, frame: f})
				setting[f.Conn] = f.Op == wire.OpSetWatches || f.Op == wire.OpSetWatches2
				if w := owner[simKey{f.Op, f.Path}]; w != nil {
					sent[workerConn{w, f.Conn}] = append(sent[workerConn{w, f.Conn}], f)
				}
			}
		case f.Dir == zktest.ToClient:
			req := requests[frameKey{f.Conn, f.Xid}]
			if f.Xid > 0 && req == nil {
				s.harness = append(s.harness, fmt.Sprintf("a reply without a request: %v", *f))
				continue
			}
			if !under(f.Conn) {
				continue
			}
			ends[f.Conn] += int64(4 + f.Len)
			e := simEntry{Conn: f.Conn, End: ends[f.Conn], At: at, Zxid: f.Zxid, frame: f}
			c := s.conns[f.Conn-2]
			read := c.returned.Load()
			e.Received = e.End <= read
			if e.Received && f.Op == wire.OpNotification && e.End == read && !c.asked.Load() {
				e.Received = false // the one too many, which ends the Session
				s.nslow++
			}
			switch {
			case f.Op == wire.OpNotification:
				e.Kind, e.Type, e.Path, e.CatchUp = simNote, zk.EventType(f.Event), f.Path, setting[f.Conn]
			case f.Xid > 0:
				e.Kind = simReply
				replies[frameKey{f.Conn, f.Xid}] = len(tr.Log)
				if f.Op == wire.OpSetWatches || f.Op == wire.OpSetWatches2 {
					e.Sets, lastSet[f.Conn] = true, len(tr.Log)
					if f.Err == 0 {
						e.Restores = simRestores(req)
					}
				}
			default: // handshake, auth, ping
				e.Kind, e.Zxid = simReply, 0
			}
			tr.Log = append(tr.Log, e)
		}
	}
	for conn := range s.finished {
		if at, ok := lastSet[conn]; ok {
			tr.Log[at].Migrated = true
		}
	}
	// Which call a frame was of: of a worker's requests on a connection the
	// n-th frame belongs to the n-th call that was sent.
	for _, w := range workers {
		next := map[int64]int{}
		last := map[int64]int64{} // place behind the last reply that a call returned with
		for _, c := range w.calls {
			path := s.chroot + c.key.path
			if c.removed {
				if c.outcome == zk.NotSent && !errors.Is(c.err, zk.ErrNoWatcher) {
					continue
				}
				tr.Removes = append(tr.Removes, simRemove{Path: path, Chan: c.ch, Conn: c.conn, Lo: last[c.conn], Hi: c.hi, OK: c.err == nil || errors.Is(c.err, zk.ErrNoWatcher)})
				continue
			}
			if c.outcome == zk.NotSent {
				continue
			}
			n := next[c.conn]
			next[c.conn]++
			frames := sent[workerConn{w, c.conn}]
			if n >= len(frames) {
				if c.outcome != zk.Lost {
					s.harness = append(s.harness, fmt.Sprintf("%v %s on connection %d returned %v, and no server got it", c.key.op, path, c.conn, c.err))
				}
				continue
			}
			f := frames[n]
			if f.Op != c.key.op || f.Path != path {
				s.harness = append(s.harness, fmt.Sprintf("frame %d of a worker on connection %d is %v, its call was %v %s", n, c.conn, f, c.key.op, path))
				break
			}
			if c.outcome != 0 {
				continue
			}
			at, ok := replies[frameKey{c.conn, f.Xid}]
			if !ok || !tr.Log[at].Received {
				s.harness = append(s.harness, fmt.Sprintf("%v %s on connection %d returned without its reply", c.key.op, path, c.conn))
				continue
			}
			e := &tr.Log[at]
			last[c.conn] = e.End
			if s.roomy {
				tr.Returns = append(tr.Returns, simReturn{at, c.held})
			}
			if c.ch < 0 {
				continue
			}
			s.ncalls++
			arm := simWatch{Path: path, Chan: c.ch}
			switch {
			case c.key.op == wire.OpGetData:
				arm.Kind = zk.DataWatch
			case c.key.op == wire.OpExists:
				arm.Kind = zk.DataWatch
				if e.frame.Err == wire.ErrNoNode {
					arm.Kind = zk.ExistsWatch
				}
			case c.key.op == wire.OpGetChildren2:
				arm.Kind = zk.ChildWatch
			case c.mode == zk.WatchRecursive:
				arm.Kind = zk.RecursiveWatch
			default:
				arm.Kind = zk.PersistentWatch
			}
			e.Arms = append(e.Arms, arm)
		}
	}
}

func simChanges(f *zktest.Frame) []simChange {
	d := wire.NewDecoder(f.Raw)
	var h wire.RequestHeader
	h.Decode(&d)
	switch f.Op {
	case wire.OpCreate, wire.OpCreate2:
		return []simChange{{zk.Created, f.Path}}
	case wire.OpSetData:
		return []simChange{{zk.Changed, f.Path}}
	case wire.OpDelete:
		return []simChange{{zk.Deleted, f.Path}}
	case wire.OpMulti:
		var m wire.MultiRequest
		m.Decode(&d)
		var out []simChange
		for _, op := range m.Ops {
			switch r := op.Request.(type) {
			case wire.CreateRequest:
				out = append(out, simChange{zk.Created, r.Path})
			case wire.SetDataRequest:
				out = append(out, simChange{zk.Changed, r.Path})
			case wire.PathVersionRequest:
				if op.Op == wire.OpDelete {
					out = append(out, simChange{zk.Deleted, r.Path})
				}
			}
		}
		return out
	}
	return nil
}

// simFailed reports whether a multi's reply, whose header has no error, brings one.
func simFailed(f *zktest.Frame) bool {
	if f.Op != wire.OpMulti {
		return false
	}
	d := wire.NewDecoder(f.Raw)
	var h wire.ReplyHeader
	h.Decode(&d)
	var m wire.MultiResponse
	m.Decode(&d)
	return slices.ContainsFunc(m.Results, func(r wire.MultiResult) bool { return r.Op == wire.OpError })
}

func simRestores(f *zktest.Frame) []simWatch {
	d := wire.NewDecoder(f.Raw)
	var h wire.RequestHeader
	h.Decode(&d)
	var r wire.SetWatches2Request
	if f.Op == wire.OpSetWatches2 {
		r.Decode(&d)
	} else {
		var q wire.SetWatchesRequest
		q.Decode(&d)
		r.Data, r.Exist, r.Child = q.Data, q.Exist, q.Child
	}
	var out []simWatch
	for i, list := range [][]string{r.Data, r.Exist, r.Child, r.Persistent, r.Recursive} {
		for _, p := range list {
			out = append(out, simWatch{Kind: zk.WatchKind(i + 1), Path: p})
		}
	}
	return out
}

// keepLog writes down a run for the reader.
func (s *simulation) keepLog(found []simFinding) string {
	name := filepath.Join(*simKeep, fmt.Sprintf("zk-sim-%d.log", s.seed))
	f, err := os.Create(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	defer w.Flush()
	fmt.Fprintln(w, s)
	for _, x := range found {
		fmt.Fprintln(w, x)
	}
	for i := range s.trace.Log {
		e := &s.trace.Log[i]
		mark := " "
		switch {
		case e.Kind == simTxn:
			mark = "T"
		case e.Kind == simAsk:
			mark = ">"
		case e.Received:
			mark = "+"
		}
		fmt.Fprintf(w, "%6d %s %s", i, mark, e.frame)
		if e.Kind == simTxn {
			fmt.Fprintf(w, " => zxid %#x %v", e.Zxid, e.Changes)
		}
		for _, a := range e.Arms {
			fmt.Fprintf(w, " arms %v of channel %d", a.Kind, a.Chan)
		}
		if e.Sets {
			fmt.Fprintf(w, " restores %v", e.Restores)
		}
		if e.Migrated {
			fmt.Fprint(w, " MIGRATED")
		}
		for _, x := range found {
			if x.Pos == i {
				fmt.Fprintf(w, "\n!!!!!! %v", x)
			}
		}
		fmt.Fprintln(w)
	}
	for _, r := range s.trace.Removes {
		fmt.Fprintf(w, "removed: %+v\n", r)
	}
	for i := range s.out {
		for _, r := range s.out[i].Recv {
			fmt.Fprintf(w, "channel %d at %v, %d to %d: %v\n", i, r.At, r.Before, r.After, r)
		}
	}
	return name
}
