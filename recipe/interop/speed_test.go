//go:build unix

package interop

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var speed = flag.Int("speed", 0, "turns of each client for TestSpeed; 0: it is left out")

// TestSpeed prints how long a turn under a lock takes, an acquire and a release,
// with one client and with eight, and the CPU time of the clients.
//
//	ZK_TEST_APACHE=1 go test -run TestSpeed -speed 2000 -v
func TestSpeed(t *testing.T) {
	if *speed == 0 {
		t.Skip("no -speed")
	}
	apache.Need(t)
	e := apache.New(t, apache.Config{HeapMB: 1024})
	fmt.Fprintln(os.Stderr, "clients  who      ms per turn  turns per second  CPU µs per turn")
	for range 2 { // the first time everything is cold
		for _, clients := range []int{1, 8} {
			report := func(who string, took, cpu time.Duration) {
				turns := time.Duration(*speed * clients)
				fmt.Fprintf(os.Stderr, "%7d  %-7s  %11.3f  %16.0f  %15.0f\n", clients, who,
					(took/turns).Seconds()*1000, float64(turns)/took.Seconds(), float64((cpu/turns).Nanoseconds())/1000)
			}
			took, cpu := ourSpeed(t, e.Addrs(), clients)
			report("recipe", took, cpu)
			for who, command := range map[string][]string{"Curator": curator(t), "kazoo": kazoo(t)} {
				s := &stage{T: t, command: command}
				lines := s.peerAt(e.Addrs()[0], "speed", *speed, fmt.Sprint(clients)).end()
				assert.Equal(t, len(lines), 1)
				var took, cpu float64
				_, err := fmt.Sscanf(lines[0], "speed %g %g", &took, &cpu)
				assert.NilError(t, err)
				report(who, time.Duration(took*1e9), time.Duration(cpu*1e9))
			}
		}
	}
}

func ourSpeed(t *testing.T, addrs []string, clients int) (took, cpu time.Duration) {
	sessions := make([]*zk.Session, clients)
	for i := range sessions {
		s, err := zk.Dial(bg, zk.Config{Addrs: addrs})
		assert.NilError(t, err)
		defer s.Close()
		sessions[i] = s
	}
	turns := func(n int) {
		var all sync.WaitGroup
		for _, s := range sessions {
			all.Go(func() {
				lock := recipe.Lock{Path: "/speed"}
				for range n {
					h, err := lock.Acquire(bg, s)
					if !assert.Check(t, err) || !assert.Check(t, h.Release()) {
						return
					}
				}
			})
		}
		all.Wait()
	}
	turns(*speed / 4)
	start, used := time.Now(), cpuTime(t)
	turns(*speed)
	return time.Since(start), cpuTime(t) - used
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	assert.NilError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
