package zk

import (
	"context"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest"
)

// asked is a HostProvider that writes down what it is asked.
type asked struct {
	*SimpleDNSHostProvider
	log []string
}

func (a *asked) Init(list []string) error {
	a.log = append(a.log, "Init")
	return a.SimpleDNSHostProvider.Init(list)
}

func (a *asked) Next() (string, bool) {
	a.log = append(a.log, "Next")
	return a.SimpleDNSHostProvider.Next()
}

func (a *asked) Connected() {
	a.log = append(a.log, "Connected")
	a.SimpleDNSHostProvider.Connected()
}

// A HostProvider is asked once for each attempt, and decides.
func TestHostProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true})
		hosts := &asked{SimpleDNSHostProvider: new(SimpleDNSHostProvider)}
		c, _ := connect(t, e.Addrs(), dialing(e.DialContext), WithHostProvider(hosts))
		_, _, err := c.Get("/")
		assert.NilError(t, err)
		for i, addr := range e.Addrs() { // this one, and the next
			if addr == c.Server() || addr == hosts.servers[(hosts.curr+1)%3] {
				e.Member(i).Refuse(true)
			}
		}
		e.CutAll()
		synctest.Wait()
		_, _, err = c.Get("/")
		assert.NilError(t, err)
		c.Close()
		assert.DeepEqual(t, hosts.log, []string{"Init", "Next", "Connected", "Next", "Next", "Connected"})
	})
}

// When all addresses have failed, names are resolved again.
func TestHostsAreResolvedAgain(t *testing.T) {
	hp := NewDNSHostProvider()
	answers := [][]string{{"192.0.2.1", "192.0.2.2"}, {"192.0.2.1", "192.0.2.2"}, {"192.0.2.3"}}
	asked := 0
	hp.lookupHost = func(context.Context, string) ([]string, error) {
		defer func() { asked++ }()
		return answers[min(asked, 2)], nil
	}
	assert.NilError(t, hp.Init([]string{"zk.example:2181"}))
	var around []bool
	for range 4 {
		_, again := hp.Next()
		around = append(around, again)
	}
	assert.DeepEqual(t, around, []bool{false, false, true, false})
	addr, again := hp.Next()
	assert.Assert(t, addr == "192.0.2.3:2181" && again, "%s", addr)
	assert.Equal(t, hp.Len(), 1)
	assert.Equal(t, hp.nameOf("192.0.2.3:2181"), "zk.example")
	assert.Equal(t, asked, 3)

	var simple SimpleDNSHostProvider
	assert.Assert(t, simple.Init(nil) != nil)
	assert.NilError(t, simple.Init([]string{"b:1", "a:1"}))
	one, _ := simple.Next()
	two, again := simple.Next()
	assert.Assert(t, one != two && !again && simple.Len() == 2)
	_, again = simple.Next()
	assert.Assert(t, again)
}
