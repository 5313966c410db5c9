package scripts

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

// byteCounter counts what passes a connection.
type byteCounter struct {
	net.Conn
	sent, got atomic.Int64
}

func (c *byteCounter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.got.Add(int64(n))
	return n, err
}

func (c *byteCounter) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// cutPlace is where a connection ends: when so many bytes have passed in one direction.
type cutPlace struct {
	toClient bool
	stall    bool // nothing more comes, instead of an end
	at       int64
}

func (p cutPlace) String() string {
	how, way := "cut", "to the server"
	if p.stall {
		how = "silent"
	}
	if p.toClient {
		way = "to the client"
	}
	return fmt.Sprintf("%s after byte %d %s", how, p.at, way)
}

func (p cutPlace) link() zktest.LinkRule {
	limit := zktest.CutAt(p.at)
	if p.stall {
		limit = zktest.StallAt(p.at)
	}
	if p.toClient {
		return zktest.LinkRule{ToClient: limit}
	}
	return zktest.LinkRule{FromClient: limit}
}

// TestCuts ends the connection of a migration at every byte of both directions,
// with credentials and several SetWatches frames, and dials again: Dial always
// returns, no goroutine is left, and of what changed before, between and after
// every watch tells exactly once (I20).
func TestCuts(t *testing.T) {
	defer suite.Shrink(&limits.SetWatchesFrame, 110)()
	runs := []struct {
		version zktest.Version
		chroot  string
		sets    int // SetWatches frames
		silent  bool
	}{{zktest.V39, "", 3, true}, {zktest.V38, "", 3, true}, {zktest.V39, "/app", 4, false}}
	if testing.Short() {
		runs = runs[:1]
	}
	for _, run := range runs {
		v, chroot := run.version, run.chroot
		t.Run(v.String()+strings.ReplaceAll(chroot, "/", "-"), func(t *testing.T) {
			sent, got, sets := cutOnce(t, v, chroot, nil)
			assert.Equal(t, sets, run.sets, "SetWatches frames")
			n := 0
			for _, stall := range []bool{false, true} {
				if stall && !run.silent {
					continue // that differs in nothing from the others
				}
				for at := range sent + 1 {
					cutOnce(t, v, chroot, &cutPlace{at: at, stall: stall})
					n++
				}
				for at := range got + 1 {
					cutOnce(t, v, chroot, &cutPlace{at: at, stall: stall, toClient: true})
					n++
				}
			}
			t.Logf("%d bytes to the server and %d to the client: %d places", sent, got, n)
		})
	}
}

// cutOnce moves a session over a connection that ends at a place, then over
// another one that ends somewhere, then over a good one. It returns how many
// bytes a migration takes.
func cutOnce(t *testing.T, v zktest.Version, chroot string, place *cutPlace) (sent, got int64, sets int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("%v: %s", place, fmt.Sprintf(format, args...))
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				fail("%v", err)
			}
		}
		ens, err := zktest.StartServer(zktest.Options{Version: v, InMemory: true})
		must(err)
		defer ens.Close()
		ctx := context.Background()
		auth := []zk.Auth{zk.Digest("alice", "secret")}
		acl := zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}
		writer, err := zk.Dial(ctx, zk.Config{Addrs: ens.Addrs(), DialContext: ens.DialContext, Auth: auth, Timeout: time.Hour})
		must(err)
		defer writer.Close()
		create := func(path string) { _, err := writer.Create(ctx, chroot+path, nil, zk.Persistent, acl); must(err) }
		set := func(path string) { _, err := writer.Set(ctx, chroot+path, nil, zk.AnyVersion); must(err) }
		remove := func(path string) { must(writer.Delete(ctx, chroot+path, zk.AnyVersion)) }
		if chroot != "" {
			create("")
		}

		var last *byteCounter
		conf := zk.Config{Addrs: ens.Addrs(), Chroot: chroot, Auth: auth, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := ens.DialContext(ctx, network, addr)
			if err == nil {
				last = &byteCounter{Conn: nc}
				nc = last
			}
			return nc, err
		}}
		s, err := zk.Dial(ctx, conf)
		must(err)
		chans := map[string]chan zk.Event{}
		channel := func(path string) chan zk.Event { chans[path] = make(chan zk.Event, 16); return chans[path] }
		for _, p := range []string{"/data-0", "/data-1", "/data-2", "/data-3"} {
			create(p)
			_, _, err := s.Get(ctx, p, channel(p))
			must(err)
		}
		for _, p := range []string{"/none-0", "/none-1", "/none-2", "/none-3"} {
			_, _, err := s.Exists(ctx, p, channel(p))
			must(err)
		}
		for _, p := range []string{"/kids-0", "/kids-1", "/kids-2", "/kids-3"} {
			create(p)
			_, _, err := s.Children(ctx, p, channel(p))
			must(err)
		}
		for _, p := range []string{"/all-0", "/all-1"} {
			create(p)
			must(s.AddWatch(ctx, p, zk.WatchPersistent, channel(p)))
		}
		create("/deep")
		must(s.AddWatch(ctx, "/deep", zk.WatchRecursive, channel("/deep")))
		conf = s.Detach()

		// While there is no connection …
		set("/data-0")
		create("/none-0")
		create("/none-3") // and gone before it can be told: I8(i)
		create("/kids-0/x")
		set("/all-0")
		create("/deep/x")
		if place != nil {
			ens.Link(place.link())
			s = cutDial(ctx, conf)
			if s != nil {
				conf = s.Detach()
			}
			if left := len(ens.Sessions()); left != 2 {
				fail("%d sessions live", left)
			}
			// … and between a Dial that failed and the next …
			set("/data-1")
			remove("/data-0")
			create("/none-1")
			create("/kids-1/x")
			ens.Link(cutPlace{toClient: place.at%2 == 0, at: (place.at*7 + 31) % 600}.link())
			if s = cutDial(ctx, conf); s != nil {
				conf = s.Detach()
			}
		} else {
			set("/data-1")
			create("/none-1")
			create("/kids-1/x")
		}
		told := len(chans["/none-3"]) == 1
		if !told {
			remove("/none-3")
		}
		ens.Heal()
		ens.ForgetFrames()
		s, err = zk.Dial(ctx, conf)
		must(err)
		sent, got = last.sent.Load(), last.got.Load()
		for _, f := range ens.Frames() {
			if f.Dir == zktest.FromClient && strings.HasPrefix(f.Op.String(), "setWatches") {
				sets++
			}
		}
		// … and once there is one again.
		set("/data-2")
		remove("/data-3")
		create("/none-2")
		if !told {
			create("/none-3")
		}
		create("/kids-2/x")
		create("/kids-3/x")
		set("/all-0")
		set("/all-1")
		set("/deep/x")
		must(s.Sync(ctx, "/"))
		_, _, err = s.Get(ctx, "/data-2", nil) // as alice
		must(err)
		want := map[string]string{
			"/data-0": "changed", "/data-1": "changed", "/data-2": "changed", "/data-3": "deleted",
			"/none-0": "created", "/none-1": "created", "/none-2": "created", "/none-3": "created",
			"/kids-0": "child", "/kids-1": "child", "/kids-2": "child", "/kids-3": "child",
			"/all-0": "gap changed", "/all-1": "gap changed", "/deep": "gap changed",
		}
		for path, ch := range chans {
			var types []string
			for len(ch) > 0 {
				ev := <-ch
				if ev.Type == zk.Gap && len(types) > 0 && types[len(types)-1] == "gap" {
					continue // of a Dial that got that far and failed
				}
				if types = append(types, ev.Type.String()); ev.Path != path && ev.Path != "/deep/x" {
					fail("%v in the channel of %s", ev, path)
				}
			}
			got := strings.Join(types, " ")
			if path == "/data-0" && got == "deleted" { // the first Dial did not get to tell
				got = "changed"
			}
			if got != want[path] {
				fail("%s told of %q, want %q", path, got, want[path])
			}
		}
		must(s.Close())
	})
	return sent, got, sets
}

// cutDial dials a link that ends somewhere; a Session may come of it or not.
func cutDial(ctx context.Context, conf zk.Config) *zk.Session {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return nil
	}
	return s
}

// TestCutsFullSize does the same with SetWatches frames of full size: the link
// ends within 20 bytes of every boundary between frames, and at 200 places
// anywhere. One session goes through all of it.
func TestCutsFullSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ens, err := zktest.StartServer(zktest.Options{InMemory: true, FrameLog: 100})
		assert.NilError(t, err)
		defer ens.Close()
		ctx := context.Background()
		writer, err := zk.Dial(ctx, zk.Config{Addrs: ens.Addrs(), DialContext: ens.DialContext, Timeout: time.Hour})
		assert.NilError(t, err)
		defer writer.Close()
		var last *byteCounter
		s, err := zk.Dial(ctx, zk.Config{Addrs: ens.Addrs(), Auth: []zk.Auth{zk.Digest("alice", "secret")}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := ens.DialContext(ctx, network, addr)
			last = &byteCounter{Conn: nc}
			return last, err
		}})
		assert.NilError(t, err)

		events := make(chan zk.Event, 100)
		var paths []string
		var ops []zk.Op
		for i := range 2800 {
			paths = append(paths, fmt.Sprintf("/%s-%05d", strings.Repeat("long", 30), i))
			ops = append(ops, zk.ExistsOp{Path: paths[i], Watch: events})
		}
		s.Batch(ctx, ops...)
		assert.Equal(t, s.Config().Watches.Len(), len(paths))
		changed := []string{paths[0], paths[len(paths)/2], paths[len(paths)-1]}
		rng := rand.New(rand.NewPCG(1, 2))
		n := 0
		// round moves the session over a link that ends at a place, and then over a good one.
		round := func(place *cutPlace) {
			conf := s.Detach()
			for _, p := range changed {
				_, err := writer.Create(ctx, p, nil, zk.Persistent, zk.ACLOpen)
				assert.NilError(t, err, "%v", place)
			}
			if place != nil {
				ens.Link(place.link())
				if x := cutDial(ctx, conf); x != nil {
					conf = x.Detach()
				}
			}
			ens.Heal()
			s, err = zk.Dial(ctx, conf)
			assert.NilError(t, err, "%v", place)
			var told []string
			for len(events) > 0 {
				ev := <-events
				assert.Equal(t, ev.Type, zk.Created, "%v", place)
				told = append(told, ev.Path)
			}
			slices.Sort(told)
			assert.DeepEqual(t, told, changed)
			for _, p := range changed {
				assert.NilError(t, writer.Delete(ctx, p, zk.AnyVersion))
				_, _, err := s.Exists(ctx, p, events)
				assert.NilError(t, err, "%v", place)
			}
			n++
		}
		ens.ForgetFrames()
		round(nil)
		// The boundaries, from the log of a good migration.
		var places []cutPlace
		sent, got := int64(0), int64(0)
		near := func(at int64, toClient bool) {
			for d := int64(-20); d <= 20; d++ {
				if p := (cutPlace{at: at + d, toClient: toClient}); p.at >= 0 && !slices.Contains(places, p) {
					places = append(places, p)
				}
			}
		}
		near(0, false)
		near(0, true)
		sets := 0
		for _, f := range ens.Frames() {
			switch {
			case f.Session != s.ID() || f.Op == 3: // the watches armed again
			case f.Dir == zktest.FromClient:
				sent += int64(4 + f.Len)
				near(sent, false)
				if strings.HasPrefix(f.Op.String(), "setWatches") {
					sets++
				}
			case f.Dir == zktest.ToClient:
				got += int64(4 + f.Len)
				near(got, true)
			}
		}
		assert.Equal(t, sets, 3)
		for range 100 {
			places = append(places, cutPlace{at: rng.Int64N(sent)}, cutPlace{at: rng.Int64N(got), toClient: true})
		}
		if testing.Short() {
			rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
			places = places[:min(len(places), 150)]
		}
		for _, p := range places {
			round(&p)
		}
		assert.NilError(t, s.Close())
		t.Logf("%d bytes to the server and %d to the client: %d migrations of %d watches", sent, got, n, len(paths))
	})
}
