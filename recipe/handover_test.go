package recipe_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// asProcess makes this test a process that holds a lock; see TestMain.
const asProcess = "RECIPE_TEST_PROCESS"

// handedOver is what one process gives to another.
type handedOver struct {
	Addr  string
	State zk.State
	GUID  string
}

// held is what a process says of its hold.
type held struct {
	Token int64
	Path  string
	ID    int64 // the session's
	Over  handedOver
	Lost  bool
	Err   string
}

// beProcess is a process that holds a lock, as far as it is told.
func beProcess(in io.Reader, out io.Writer) error {
	orders, says := json.NewDecoder(in), json.NewEncoder(out)
	var from handedOver
	if err := orders.Decode(&from); err != nil {
		return err
	}
	s, err := zk.Dial(bg, zk.Config{Addrs: []string{from.Addr}, Timeout: 20 * time.Second, State: from.State})
	if err != nil {
		return err
	}
	h, err := (&recipe.Lock{Path: "/l", GUID: from.GUID}).Acquire(bg, s)
	if err != nil {
		return err
	}
	say := held{Token: h.Token(), Path: h.Path(), ID: s.ID()}
	for err == nil {
		if err = says.Encode(say); err != nil {
			break
		}
		var order string
		if orders.Decode(&order) != nil {
			return nil // whoever started it wants no more
		}
		switch order {
		case "hand over":
			say.Over = handedOver{Addr: from.Addr, GUID: h.Detach()}
			say.Over.State = s.Detach().State
		case "write":
			_, err = h.Multi(bg, s, zk.CreateOp{Path: "/written", ACL: zk.ACLOpen})
		case "release":
			err = errors.Join(h.Release(), s.Close())
		}
		say.Lost = isLost(h.Lost())
		if err := h.Err(); err != nil {
			say.Err = err.Error()
		}
	}
	return err
}

// otherProcess is one that holds a lock, and what it is told and says.
type otherProcess struct {
	*testing.T
	cmd  *exec.Cmd
	in   *json.Encoder
	says *json.Decoder
}

func startProcess(t *testing.T) *otherProcess {
	exe, err := os.Executable()
	assert.NilError(t, err)
	p := &otherProcess{T: t, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), asProcess+"=1")
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	assert.NilError(t, err)
	out, err := p.cmd.StdoutPipe()
	assert.NilError(t, err)
	p.in, p.says = json.NewEncoder(in), json.NewDecoder(out)
	assert.NilError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	return p
}

func (p *otherProcess) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *otherProcess) do(order any) (say held) {
	p.Helper()
	defer time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() }).Stop()
	assert.NilError(p, p.in.Encode(order))
	assert.NilError(p, p.says.Decode(&say), "it has ended")
	return say
}

// handOver lets a process take a lock and hand it over to another one. The first
// runs on, and is then killed: its hold is over, and the other's is not.
func handOver(t *testing.T, addr string) {
	other, err := zk.Dial(bg, zk.Config{Addrs: []string{addr}})
	assert.NilError(t, err)
	defer other.Close()
	lock := &recipe.Lock{Path: "/l"}
	first, second := startProcess(t), startProcess(t)
	had := first.do(handedOver{Addr: addr})
	waiter := make(chan *recipe.Hold, 1)
	go func() {
		h, err := lock.Acquire(bg, other)
		assert.Check(t, err)
		waiter <- h
	}()
	line := func() []recipe.Contender {
		line, err := lock.Contenders(bg, other)
		assert.NilError(t, err)
		return line
	}
	for len(line()) < 2 {
		time.Sleep(time.Millisecond)
	}

	gave := first.do("hand over")
	assert.Check(t, gave.Lost)
	assert.ErrorContains(t, errors.New(gave.Err), "detached")
	got := second.do(gave.Over)
	assert.Equal(t, got.Token, had.Token)
	assert.Equal(t, got.Path, had.Path)
	assert.Equal(t, got.ID, had.ID)
	assert.Equal(t, got.Err, "")
	first.kill()
	assert.Equal(t, second.do("write").Err, "")
	assert.Equal(t, len(line()), 2)
	assert.Equal(t, line()[0].Token, had.Token)
	assert.Equal(t, len(waiter), 0)

	assert.Check(t, second.do("release").Lost)
	h := <-waiter
	assert.Check(t, h.Token() > had.Token)
	assert.NilError(t, h.Release())
}

func TestR39_TwoProcesses(t *testing.T) { handOver(t, zktest.NewServer(t).Addr()) }

func TestRealHandOver(t *testing.T) {
	onReal(t, func(t *testing.T, _ apache.Release, proxy *zktest.Proxy, _ func() *zk.Session) {
		handOver(t, proxy.Addr())
	})
}
