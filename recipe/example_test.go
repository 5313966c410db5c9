package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

// session begins a session with a server of its own.
func session() (s *zk.Session, end func()) {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	s, err = zk.Dial(context.Background(), zk.Config{Addrs: server.Addrs()})
	if err != nil {
		log.Fatal(err)
	}
	return s, func() { s.Close(); server.Close() }
}

// A lock that guards a znode: the server executes what the holder writes only
// while the holder has the lock.
func ExampleLock() {
	ctx := context.Background()
	s, end := session()
	defer end()
	s.Create(ctx, "/primary", nil, zk.Persistent, zk.ACLOpen)

	lock := recipe.Lock{Path: "/locks/primary"}
	h, err := lock.Acquire(ctx, s)
	if err != nil {
		log.Fatal(err)
	}
	_, err = h.Multi(ctx, s, zk.SetOp{Path: "/primary", Data: []byte("db1"), Version: zk.AnyVersion})
	fmt.Println(err)

	_, err = lock.TryAcquire(ctx, s) // another contender, though it is the same session
	fmt.Println(errors.Is(err, recipe.ErrLocked))

	fmt.Println(h.Release())
	_, err = h.Multi(ctx, s, zk.SetOp{Path: "/primary", Data: []byte("late"), Version: zk.AnyVersion})
	fmt.Println(errors.Is(err, recipe.ErrNotHeld))
	// Output:
	// <nil>
	// true
	// <nil>
	// true
}

// Work that ends when the hold does, whatever becomes of the session.
func ExampleHold_Context() {
	ctx := context.Background()
	s, end := session()
	defer end()
	h, err := (&recipe.Lock{Path: "/locks/job"}).Acquire(ctx, s)
	if err != nil {
		log.Fatal(err)
	}
	held, cancel := h.Context(ctx)
	defer cancel()

	s.Delete(ctx, h.Path(), zk.AnyVersion) // somebody else does so
	<-held.Done()
	fmt.Println(errors.Is(context.Cause(held), recipe.ErrNotHeld))
	fmt.Println(errors.Is(h.Release(), recipe.ErrNotHeld))
	// Output:
	// true
	// true
}

func ExampleRWLock() {
	ctx := context.Background()
	s, end := session()
	defer end()
	rw := recipe.RWLock{Path: "/locks/config"}
	one, _ := rw.AcquireRead(ctx, s)
	two, _ := rw.AcquireRead(ctx, s)
	_, err := rw.TryAcquireWrite(ctx, s)
	fmt.Println(errors.Is(err, recipe.ErrLocked))
	one.Release()
	two.Release()
	w, err := rw.TryAcquireWrite(ctx, s)
	fmt.Println(err, w.Release())
	// Output:
	// true
	// <nil> <nil>
}

func ExampleSemaphore() {
	ctx := context.Background()
	s, end := session()
	defer end()
	m := recipe.Semaphore{Path: "/downloads", Max: 2}
	for range 3 {
		_, err := m.TryAcquire(ctx, s)
		fmt.Println(err == nil)
	}
	// Output:
	// true
	// true
	// false
}

func ExampleElection() {
	ctx := context.Background()
	s, end := session()
	defer end()
	e := recipe.Election{Path: "/leader", ID: "host1:8080"}
	term, err := e.Campaign(ctx, s)
	if err != nil {
		log.Fatal(err)
	}
	leader, err := e.Leader(ctx, s)
	fmt.Println(string(leader.Data), leader.Token == term.Token(), err)
	term.Release()
	_, err = e.Leader(ctx, s)
	fmt.Println(errors.Is(err, recipe.ErrNoLeader))
	// Output:
	// host1:8080 true <nil>
	// true
}

func ExampleElection_Observe() {
	ctx := context.Background()
	s, end := session()
	defer end()
	e := recipe.Election{Path: "/leader", ID: "host1:8080"}
	e.Campaign(ctx, s)
	var last recipe.Contender // kept for Observe with the next Session
	for leader, err := range e.Observe(ctx, s, last) {
		if err != nil {
			break // redial, and go on
		}
		last = leader
		fmt.Printf("%s leads\n", leader.Data)
		break
	}
	// Output: host1:8080 leads
}

func ExampleOwn() {
	ctx := context.Background()
	s, end := session()
	defer end()
	h, err := recipe.Own(ctx, s, "/workers/a", []byte("idle"), nil)
	if err != nil {
		log.Fatal(err)
	}
	h.SetData(ctx, s, []byte("busy"))
	data, _, _ := s.Get(ctx, "/workers/a", nil)
	fmt.Printf("%s\n", data)
	fmt.Println(h.Release())
	// Output:
	// busy
	// <nil>
}

func ExampleGroup() {
	ctx := context.Background()
	s, end := session()
	defer end()
	g := recipe.Group{Path: "/members"}
	g.Join(ctx, s, "a", []byte("host1:8080"))
	g.Join(ctx, s, "b", []byte("host2:8080"))
	members, err := g.Members(ctx, s)
	fmt.Printf("%s %s %v\n", members["a"], members["b"], err)
	// Output: host1:8080 host2:8080 <nil>
}

// A transfer that is made once, whatever answers are lost.
func ExampleOnce() {
	ctx := context.Background()
	s, end := session()
	defer end()
	s.Create(ctx, "/from", []byte("10"), zk.Persistent, zk.ACLOpen)
	s.Create(ctx, "/to", []byte("0"), zk.Persistent, zk.ACLOpen)
	once := recipe.Once{Path: "/transfers/me"}
	ops := []zk.WriteOp{
		zk.SetOp{Path: "/from", Data: []byte("9"), Version: 0},
		zk.SetOp{Path: "/to", Data: []byte("1"), Version: 0},
	}
	for {
		_, again, err := once.Do(ctx, s, ops...)
		if errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) {
			if s, err = s.Redial(ctx); err != nil {
				log.Fatal(err)
			}
			continue
		}
		fmt.Println(again, err)
		break
	}
	// Output: false <nil>
}

func ExampleCounter() {
	ctx := context.Background()
	s, end := session()
	defer end()
	hits := recipe.Counter{Path: "/hits"}
	hits.Add(ctx, s, 2)
	n, err := hits.Add(ctx, s, 40)
	fmt.Println(n, err)
	// Output: 42 <nil>
}

func ExampleBarrier() {
	ctx := context.Background()
	s, end := session()
	defer end()
	b := recipe.Barrier{Path: "/maintenance"}
	b.Set(ctx, s)
	go b.Lift(ctx, s)
	fmt.Println(b.Wait(ctx, s))
	// Output: <nil>
}

func ExampleDoubleBarrier() {
	ctx := context.Background()
	s, end := session()
	defer end()
	b := recipe.DoubleBarrier{Path: "/round", Members: 1}
	h, err := b.Enter(ctx, s)
	fmt.Println(err)
	fmt.Println(b.Leave(ctx, s, h))
	// Output:
	// <nil>
	// <nil>
}

func ExampleQueue() {
	ctx := context.Background()
	s, end := session()
	defer end()
	q := recipe.Queue{Path: "/jobs"}
	q.Put(ctx, s, []byte("later"), 500)
	q.Put(ctx, s, []byte("first"), 0)
	for range 2 {
		item, err := q.Take(ctx, s)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %v\n", item.Data, item.Done(ctx, s))
	}
	// Output:
	// first <nil>
	// later <nil>
}

// The only member works at all items. With others, each has its share.
func ExamplePartition() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, end := session()
	defer end()
	p := recipe.Partition{Path: "/shards", ID: "worker-1", Items: []string{"a", "b"}, Settle: 10 * time.Millisecond}
	started := make(chan string)
	go func() {
		items := []string{<-started, <-started}
		slices.Sort(items)
		fmt.Println(items)
		cancel()
	}()
	err := p.Run(ctx, s, func(ctx context.Context, item string, h *recipe.Hold) error {
		started <- item
		<-ctx.Done() // until the item is another's
		return ctx.Err()
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// [a b]
	// true
}

// A job whose name nobody else can have, and which is found again after a lost answer.
func ExampleCreateProtected() {
	ctx := context.Background()
	s, end := session()
	defer end()
	path, err := recipe.CreateProtected(ctx, s, "/job-", []byte("resize"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.HasPrefix(path, "/_c_"), strings.HasSuffix(path, "-job-0000000000"))
	// Output:
	// true true
}

// The loop of one owner. The Hold is outside, so that it outlives connections.
func ExampleRun() {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	conf := zk.Config{Addrs: server.Addrs()}
	cut := false

	lock := recipe.Lock{Path: "/locks/db"}
	var held *recipe.Hold
	err = recipe.Run(context.Background(), conf, func(ctx context.Context, s *zk.Session, fresh bool) (err error) {
		fmt.Println("connected, a new session:", fresh)
		if held != nil && held.Err() != nil {
			held.Release() // it was lost: only now may the next one have it, if the session lives
			held = nil
		}
		if held == nil {
			if held, err = lock.Acquire(ctx, s); err != nil {
				return err // Run redials, and Acquire goes on in its place
			}
		}
		if !cut {
			cut = true
			server.Cut(s.ID())
			<-s.Done()
		}
		if _, err = held.Multi(ctx, s, zk.CreateOp{Path: "/done", ACL: zk.ACLOpen}); err == nil {
			err = held.Release()
		}
		return err
	})
	fmt.Println(err)
	// Output:
	// connected, a new session: true
	// connected, a new session: false
	// <nil>
}
