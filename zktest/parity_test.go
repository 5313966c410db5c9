package zktest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

var (
	paritySeed = flag.Uint64("parity.seed", 1, "seed of the first parity run; 0: a new one each time")
	parityOps  = flag.Int("parity.ops", 6000, "operations per release")
)

var parityVersions = map[apache.Release]Version{
	apache.V3_4: V34, apache.V3_5: V35, apache.V3_6: V36, apache.V3_7: V37, apache.V3_8: V38, apache.V3_9: V39,
}

// since says which release first had an operation.
func since(op wire.Op) Version { return Version(data.Since[op]) }

// TestParity sends one random sequence of operations, from several sessions, to
// a server of this package and to a real one, and compares replies, errors,
// stats, events and their order. Zxids are compared relative to the first.
func TestParity(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		version := parityVersions[release]
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release, Properties: map[string]string{"znode.container.checkIntervalMs": "86400000"}})
			seed := *paritySeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			// Both servers keep their history from run to run, as the root's Stat shows it.
			ours := NewServer(t, Options{
				Version: version, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
				ReapInterval: time.Hour, Super: apache.SuperCredential, Reconfig: true, EnforceQuota: true,
			})
			peers := bothPeers(t, ours.Addrs(), real.Addrs())
			runSteps(t, fmt.Sprintf("%v, fixed", version), peers, fixedSteps(version, 1))
			assert.Equal(t, peers[0].base, peers[1].base) // as both began at zxid 0
			for done := 0; done < *parityOps && !t.Failed(); seed++ {
				done += runParity(t, seed, version, ours.Addrs(), real.Addrs())
				assert.Equal(t, peers[0].dataSize(), peers[1].dataSize(), "%v, -parity.seed=%d", version, seed)
			}
		})
	}
}

// TestEnsembleParity does the same with ensembles, whose sessions are at two
// followers and the leader, and move between them. Before it looks, each member catches up.
func TestEnsembleParity(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		version := parityVersions[release]
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release, Members: 3, Properties: map[string]string{"znode.container.checkIntervalMs": "86400000"}})
			leads, err := real.Leader()
			assert.NilError(t, err)
			seed := *paritySeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			ours := NewEnsemble(t, 3, Options{
				Version: version, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
				ReapInterval: time.Hour, Super: apache.SuperCredential, Reconfig: true, EnforceQuota: true,
			})
			addrs := [2][]string{leaderLast(ours.Addrs(), ours.Leader()), leaderLast(real.Addrs(), leads)}
			runSteps(t, fmt.Sprintf("%v, fixed", version), bothPeers(t, addrs[0], addrs[1]), fixedSteps(version, 3))
			runSteps(t, fmt.Sprintf("%v, moved", version), bothPeers(t, addrs[0], addrs[1]), movedSteps(version))
			for done := 0; done < *parityOps/4 && !t.Failed(); seed++ {
				done += runParity(t, seed, version, addrs[0], addrs[1])
			}
		})
	}
}

// step is one operation of a run: request builds what session si sends to a peer.
type step struct {
	si      int
	op      wire.Op
	name    string
	request func(p *peer) []wire.Record
	parts   []step              // of opPipeline
	raw     []byte              // of opRaw
	connect wire.ConnectRequest // of opHandshake
	xid     int32               // 0: the next one
	to      int                 // member that a session moves to
	stale   *step               // what its old connection then asks for; nil: nothing
}

const paritySessions = 3

// runParity runs random steps, as many as it returns.
func runParity(t *testing.T, seed uint64, version Version, ours, real []string) int {
	g := newGenerator(seed, version)
	g.members = len(ours)
	g.fixed = fixedSteps(version, g.members)
	if version < V39 {
		// Of a connection with a watch at null the real server keeps watches when
		// it ends: it trips over the null. checkWatches counts them for ever.
		g.fixed = slices.DeleteFunc(g.fixed, func(st step) bool { return st.op == wire.OpSetWatches2 || st.op == wire.OpAddWatch })
	}
	const steps = 1500
	return compare(t, fmt.Sprintf("%v, -parity.seed=%d", version, seed), bothPeers(t, ours, real), func(i int) (step, bool) {
		st := g.step()
		if i%100 == 99 {
			st = step{op: opSweep, name: "sweep"}
		}
		return st, i < steps
	})
}

func bothPeers(t *testing.T, ours, real []string) [2]*peer {
	return [2]*peer{{t: t, addrs: ours}, {t: t, addrs: real}}
}

// runSteps runs the steps of a list.
func runSteps(t *testing.T, title string, peers [2]*peer, steps []step) {
	compare(t, title, peers, func(i int) (step, bool) {
		if i == len(steps) {
			return step{}, false
		}
		return steps[i], true
	})
}

// compare takes both servers through steps for as long as there are any, and returns how many it did.
func compare(t *testing.T, title string, peers [2]*peer, next func(i int) (step, bool)) int {
	for _, p := range peers {
		p.clean()
		p.sessions = make([]*client, paritySessions)
		for i := range p.sessions {
			p.sessions[i] = p.open(i)
			if _, err := p.sessions[i].connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range p.sessions {
			p.settle(s)
		}
		p.base = p.sessions[paritySessions-1].zxid
	}
	finished := false
	defer func() { // in good order, so that nothing expires during a later run
		for _, p := range peers {
			if !finished && len(p.trace) > 0 {
				t.Logf("%s, %v ended in %s", title, p.addrs, p.trace[len(p.trace)-1])
				continue
			}
			for _, s := range p.sessions {
				s.recv(s.send(wire.OpCloseSession))
				s.nc.Close()
			}
		}
	}()
	for i := 0; ; i++ {
		st, more := next(i)
		if !more {
			finished = true
			return i
		}
		var got [2]string
		var both sync.WaitGroup
		for k, p := range peers {
			p.trace = append(p.trace, fmt.Sprintf("%d: session %d %s: ", i, st.si, st.name))
			both.Go(func() {
				got[k] = p.run(&st)
				p.trace[i] += got[k]
			})
		}
		both.Wait()
		if got[0] != got[1] {
			tail := peers[0].trace[max(0, len(peers[0].trace)-25):]
			t.Errorf("%s, step %d, session %d: %s\nours: %s\nreal: %s\nbefore:\n%s", title, i, st.si, st.name, got[0], got[1], strings.Join(tail, "\n"))
			return i
		}
	}
}

// Steps that are not requests.
const (
	opMove wire.Op = 1000 + iota
	opRenew
	opWrongPassword
	opPipeline  // several requests in one segment
	opHandshake // one more connection, and its end
	opRaw       // bytes that end the connection
	opSweep     // reads all that is there
)
