package tree

import (
	"context"
	"iter"
	"slices"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// ask is one read of many.
type ask struct {
	path  string
	watch chan<- zk.Event // armed by the answer; such a read goes by Batch

	// size is about how many bytes the answer will have; -1: unknown.
	size int
	kind askKind
	need need // of a Cache's read
}

type askKind uint8

const (
	askData askKind = iota
	askStat         // without the data: Exists, which goes by Batch
	askNames
)

// The operations of a request are in one array: those of reads have the same
// fields.
func (a *ask) op(at *zk.GetOp) zk.Op {
	at.Path, at.Watch = a.path, a.watch
	switch a.kind {
	case askData:
		return at
	case askStat:
		return (*zk.ExistsOp)(at)
	}
	return (*zk.ChildrenOp)(at)
}

func (a *ask) readOp(at *zk.GetOp) zk.ReadOp {
	at.Path = a.path
	if a.kind == askData {
		return at
	}
	return (*zk.ChildrenOp)(at)
}

const (
	maxReads     = 1000    // of one MultiRead: it is one task of the server
	maxBatch     = 2048    // reads of one Batch
	wantedReply  = 1 << 20 // bytes of one reply: reads are put together until they come near it
	maxNodeReply = 1<<20 + 4096
	askOverhead  = 100 // bytes of an answer besides data or names
)

// reader reads many znodes in few round trips: two requests are under way at a
// time, each a MultiRead, or a Batch where the server has none. One goroutine
// uses it.
type reader struct {
	s          *zk.Session
	lack       *lack
	maxReply   int
	maxRequest int

	// first is how many reads of unknown size are put together before the first
	// of them is answered: no reply is too large even if all are as large as a
	// server allows by default.
	first int
	// grow is how many times as many there are after each answer that was small.
	grow int
	// wait returns when done is closed. It is called for every request.
	wait func(done <-chan struct{})
}

func newReader(s *zk.Session) *reader {
	conf := s.Config()
	r := &reader{s: s, lack: lackOf(s), maxReply: conf.MaxReply, maxRequest: conf.MaxRequest}
	if r.maxReply == 0 {
		r.maxReply = zk.DefaultMaxReply
	}
	if r.maxRequest == 0 {
		r.maxRequest = zk.DefaultMaxRequest
	}
	r.grow = 16
	r.first = min(64, max(1, r.maxReply/maxNodeReply))
	r.wait = func(done <-chan struct{}) { <-done }
	return r
}

// request is a part of the reads, under way.
type request struct {
	asks  []ask
	batch bool
	res   []zk.Result
	err   error
	done  chan struct{}
}

// pace says how many reads go into a request.
type pace struct {
	reads   int // of unknown size
	largest int // answer seen, in bytes
	probing bool
}

// each reads all, and calls take for each result, in order, as they come. An
// error of a single znode is in its result. each returns the error that ended
// the connection, or the context's, or take's; what was answered before has
// been taken, and all the rest is in rest, which is nil without an error. After
// take has failed it gets only the answers that have armed a watch.
func (r *reader) each(ctx context.Context, asks []ask, take func(a *ask, res *zk.Result) error) (rest []ask, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var flying []*request
	p := pace{reads: r.first, probing: true}
	next := 0
	fly := func() {
		for err == nil && next < len(asks) && len(flying) < 2 {
			n, batch, unknown := r.cut(asks[next:], &p)
			if unknown && p.probing && len(flying) > 0 {
				break
			}
			q := &request{asks: asks[next : next+n], batch: batch, done: make(chan struct{})}
			go r.send(ctx, q)
			flying = append(flying, q)
			next += n
		}
	}
	for fly(); len(flying) > 0; fly() {
		q := flying[0]
		flying = flying[1:]
		r.wait(q.done)
		if q.err != nil && (err == nil || !zk.Hopeless(err) && zk.Hopeless(q.err)) {
			err = q.err
		}
		r.learnPace(q, &p)
		fly() // the server works while the answers are taken
		for i := range q.asks {
			switch {
			case i >= len(q.res) || lost(q.res[i].Err):
				rest = append(rest, q.asks[i])
			case err == nil || q.asks[i].watch != nil: // what is armed must be known
				if failed := take(&q.asks[i], &q.res[i]); failed != nil && err == nil {
					err = failed
					cancel()
				}
			default:
				rest = append(rest, q.asks[i])
			}
		}
	}
	if err == nil {
		return nil, nil
	}
	return append(rest, asks[next:]...), r.explain(err)
}

// lost reports whether an error says that there was no answer.
func lost(err error) bool {
	return err != nil && (errors.Is(err, zk.ErrLost) || errors.Is(err, zk.ErrNotSent))
}

// explain makes a lost connection of the answer to a MultiRead that ended one.
func (r *reader) explain(err error) error {
	if errors.Is(err, zk.ErrTooLarge) && (r.lack.has(multiRead) || r.lack.has(large)) {
		return err // a single znode's
	}
	return r.lack.learn(err, multiRead)
}

// cut returns how many of the reads make the next request, whether that is a
// Batch, and whether it has answers of unknown size.
func (r *reader) cut(asks []ask, p *pace) (n int, batch, unknown bool) {
	batch = r.byBatch(&asks[0])
	limit, one := maxReads, wantedReply
	if batch {
		limit, one = maxBatch, 4*wantedReply // each has a reply of its own
	}
	reads, reply, request := 0, 0, 64
	for n < len(asks) && n < limit && r.byBatch(&asks[n]) == batch {
		a := &asks[n]
		request += len(a.path) + 24
		size := a.size
		if size < 0 {
			unknown = true
			size = 0
			if reads++; reads > p.reads {
				break
			}
		}
		reply += size + askOverhead
		if n > 0 && (reply > one || request > r.maxRequest/2) {
			break
		}
		n++
	}
	return n, batch, unknown
}

func (r *reader) byBatch(a *ask) bool {
	return a.kind == askStat || a.watch != nil || r.lack.has(multiRead) || r.lack.has(large)
}

// learnPace looks at how large answers were whose size nobody knew.
func (r *reader) learnPace(q *request, p *pace) {
	reads, bytes := 0, 0
	for i := range q.res {
		if q.asks[i].size >= 0 {
			continue
		}
		n := askOverhead + len(q.res[i].Data)
		for _, name := range q.res[i].Children {
			n += len(name) + 4
		}
		reads++
		bytes += n
		p.largest = max(p.largest, n)
	}
	if reads == 0 {
		return
	}
	p.probing = false
	want := wantedReply / (bytes/reads + 1)
	p.reads = max(1, min(want, max(r.grow*reads, p.reads), maxBatch, r.maxReply*3/4/p.largest))
}

// send sends a request and waits for its answers.
func (r *reader) send(ctx context.Context, q *request) {
	defer close(q.done)
	all := make([]zk.GetOp, len(q.asks))
	if q.batch {
		ops := make([]zk.Op, len(q.asks))
		for i := range q.asks {
			ops[i] = q.asks[i].op(&all[i])
		}
		q.res, q.err = r.s.Batch(ctx, ops...)
	} else {
		ops := make([]zk.ReadOp, len(q.asks))
		for i := range q.asks {
			ops[i] = q.asks[i].readOp(&all[i])
		}
		q.res, q.err = r.s.MultiRead(ctx, ops...)
	}
	if q.res != nil && !lost(q.err) && !errors.Is(q.err, zk.ErrConnection) {
		q.err = nil // that of a znode
	}
}

// Walk returns the znode of a path and all below it, level by level: parents
// before children, siblings by name. The Children of these Nodes are not filled.
// It is not a snapshot: a znode that is deleted meanwhile is left out. An error
// comes last, with a nil Node. It matches zk.ErrNoNode if the znode of the path
// itself does not exist. A walk of "/" leaves out the server's own /zookeeper.
//
// The names of one level are in memory, and the data of three requests, each
// about 1 MiB or the first few znodes of a level.
func Walk(ctx context.Context, s *zk.Session, path string) iter.Seq2[*Node, error] {
	return func(yield func(*Node, error) bool) {
		err := newReader(s).walk(ctx, path, func(path string, res *zk.Result) error {
			if !yield(newNode(path, res), nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && err != errEnough {
			yield(nil, err)
		}
	}
}

var errEnough = errors.New("enough")

func newNode(path string, res *zk.Result) *Node {
	return &Node{Path: path, Data: res.Data, Stat: res.Stat}
}

// walk calls take for each znode, and returns the error that ended it: that of
// take, as it is, or another.
func (r *reader) walk(ctx context.Context, root string, take func(path string, res *zk.Result) error) error {
	skip := hidden(r.s, root)
	for level := []ask{{path: root, size: -1}}; len(level) > 0; {
		var dirs []ask
		below := 0
		_, err := r.each(ctx, level, func(a *ask, res *zk.Result) error {
			switch {
			case errors.Is(res.Err, zk.ErrNoNode) && a.path != root:
				return nil
			case res.Err != nil:
				return errors.WithStack(res.Err)
			}
			if res.Stat.NumChildren > 0 {
				below += int(res.Stat.NumChildren)
				dirs = append(dirs, ask{path: a.path, kind: askNames, size: namesSize(res.Stat.NumChildren)})
			}
			return take(a.path, res)
		})
		if err == nil {
			level = slices.Grow(level[:0], min(below, 1<<16)) // it is the word of a server
			_, err = r.each(ctx, dirs, func(a *ask, res *zk.Result) error {
				switch {
				case errors.Is(res.Err, zk.ErrNoNode):
					return nil
				case res.Err != nil:
					return errors.WithStack(res.Err)
				}
				slices.Sort(res.Children)
				for _, name := range res.Children {
					if path := join(a.path, name); path != skip {
						level = append(level, ask{path: path, size: -1})
					}
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namesSize guesses the bytes of a list of n names.
func namesSize(n int32) int { return int(n) * 48 }

// Get returns the znode of a path and all znodes below it. It is not a
// snapshot: a znode that is deleted meanwhile is left out. See Walk and
// Snapshot.
func Get(ctx context.Context, s *zk.Session, path string) (*Node, error) {
	nodes := make(map[string]*Node)
	err := newReader(s).walk(ctx, path, func(at string, res *zk.Result) error {
		n := newNode(at, res)
		nodes[at] = n
		if at != path {
			up := nodes[parent(at)]
			up.Children = append(up.Children, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return nodes[path], nil
}
