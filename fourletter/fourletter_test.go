package fourletter

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest"
)

// recorded returns what a real server answered, by command. The files are made
// from servers that zktest/apache started; paths of the machine and most of the
// metrics are left out.
func recorded(t testing.TB, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	assert.NilError(t, err)
	answers := make(map[string]string)
	for _, part := range strings.Split(string(text), "### ")[1:] {
		word, answer, _ := strings.Cut(part, "\n")
		answers[word] = strings.TrimSuffix(answer, "\n")
	}
	assert.Assert(t, len(answers) == 15, "%s: %d answers", name, len(answers))
	return answers
}

// answering returns a Client of a server that answers each command by what the
// map has, and closes.
func answering(t testing.TB, answers map[string]string) Client {
	t.Helper()
	return serving(t, func(conn net.Conn) {
		word := make([]byte, 4)
		if _, err := io.ReadFull(conn, word); err == nil {
			io.WriteString(conn, answers[string(word)])
		}
	})
}

func serving(t testing.TB, serve func(conn net.Conn)) Client {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return Client{Addr: l.Addr().String()}
}

// commands are all that a Client asks, as functions of the same kind.
var commands = map[string]func(ctx context.Context, c Client) (any, error){
	"ruok": func(ctx context.Context, c Client) (any, error) { return nil, c.Ruok(ctx) },
	"srvr": func(ctx context.Context, c Client) (any, error) { return c.Srvr(ctx) },
	"stat": func(ctx context.Context, c Client) (any, error) { return c.Stat(ctx) },
	"cons": func(ctx context.Context, c Client) (any, error) { return c.Cons(ctx) },
	"mntr": func(ctx context.Context, c Client) (any, error) { return c.Mntr(ctx) },
	"isro": func(ctx context.Context, c Client) (any, error) { return c.Isro(ctx) },
	"conf": func(ctx context.Context, c Client) (any, error) { return c.Conf(ctx) },
	"envi": func(ctx context.Context, c Client) (any, error) { return c.Envi(ctx) },
	"dump": func(ctx context.Context, c Client) (any, error) { return c.Dump(ctx) },
	"wchs": func(ctx context.Context, c Client) (any, error) { return c.Wchs(ctx) },
	"wchc": func(ctx context.Context, c Client) (any, error) { return c.Wchc(ctx) },
	"wchp": func(ctx context.Context, c Client) (any, error) { return c.Wchp(ctx) },
	"dirs": func(ctx context.Context, c Client) (any, error) { return c.Dirs(ctx) },
	"crst": func(ctx context.Context, c Client) (any, error) { return nil, c.Crst(ctx) },
	"srst": func(ctx context.Context, c Client) (any, error) { return nil, c.Srst(ctx) },
}

func TestRecorded(t *testing.T) {
	for name, want := range map[string]struct {
		server Server
		conns  int
	}{
		"3.4.14-standalone": {Server{
			Version: "3.4.14", Revision: "4c25d480e66aadd371de8bd2fd8da255ac140bcf", Built: "03/06/2019 16:18 GMT", BuiltAt: time.Date(2019, 3, 6, 16, 18, 0, 0, time.UTC),
			AvgLatency: 2 * time.Millisecond, MaxLatency: 6 * time.Millisecond,
			Received: 8, Sent: 7, Connections: 2, Zxid: 2, Mode: "standalone", Nodes: 5,
		}, 2},
		"3.4.14-leader": {Server{
			Version: "3.4.14", Revision: "4c25d480e66aadd371de8bd2fd8da255ac140bcf", Built: "03/06/2019 16:18 GMT", BuiltAt: time.Date(2019, 3, 6, 16, 18, 0, 0, time.UTC),
			Received: 3, Sent: 2, Connections: 1, Zxid: 0x100000002, Mode: "leader", Nodes: 5,
			LastProposal: 76, MinProposal: 36, MaxProposal: 76,
		}, 1},
		"3.6.4-standalone": {Server{
			Version: "3.6.4", Revision: "d65253dcf68e9097c6e95a126463fd5fdeb4521c", Built: "12/18/2022 18:10 GMT",
		}, 2},
		"3.6.4-follower":  {Server{Version: "3.6.4"}, 2},
		"3.4.14-follower": {Server{Version: "3.4.14"}, 2},
		"3.9.5-leader":    {Server{Version: "3.9.5"}, 1},
		"3.9.5-standalone": {Server{
			Version: "3.9.5", Revision: "293c895a8d966a3ecb92872be4a1daf87d725da2", Built: "2026-02-11 20:18 UTC", BuiltAt: time.Date(2026, 2, 11, 20, 18, 0, 0, time.UTC),
			AvgLatency: 2800 * time.Microsecond, MaxLatency: 8 * time.Millisecond,
			Received: 13, Sent: 12, Connections: 2, Zxid: 2, Mode: "standalone", Nodes: 6,
		}, 2},
		"3.9.5-follower": {Server{
			Version: "3.9.5", Revision: "293c895a8d966a3ecb92872be4a1daf87d725da2", Built: "2026-02-11 20:18 UTC", BuiltAt: time.Date(2026, 2, 11, 20, 18, 0, 0, time.UTC),
			MinLatency: time.Millisecond, AvgLatency: 5200 * time.Microsecond, MaxLatency: 11 * time.Millisecond,
			Received: 9, Sent: 8, Connections: 2, Zxid: 0x100000002, Mode: "follower", Nodes: 6,
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			answers := recorded(t, name)
			c := answering(t, answers)
			for word, command := range commands {
				_, err := command(ctx, c)
				if word == "dirs" && strings.HasPrefix(name, "3.4") {
					assert.ErrorIs(t, err, ErrNoAnswer)
					continue
				}
				assert.NilError(t, err)
			}
			server, err := c.Srvr(ctx)
			assert.NilError(t, err)
			if want.server.Zxid != 0 {
				assert.Equal(t, server, want.server)
			}
			assert.Equal(t, server.Version, want.server.Version)
			st, err := c.Stat(ctx)
			assert.NilError(t, err)
			assert.Equal(t, st.Mode, server.Mode)
			assert.Equal(t, st.Nodes, server.Nodes)
			assert.Equal(t, len(st.Conns), want.conns)
			conns, err := c.Cons(ctx)
			assert.NilError(t, err)
			assert.Equal(t, len(conns), want.conns)
		})
	}
}

// Every field of one answer to each command.
func TestFields(t *testing.T) {
	ctx := t.Context()
	c := answering(t, recorded(t, "3.9.5-follower"))
	const id = 0x100001c21360000
	conns, err := c.Cons(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, conns, []Conn{{
		Addr: "127.0.0.1:41784", Received: 5, Sent: 5, Session: id, LastOp: "EXIS", Established: time.UnixMilli(1795533407125), Timeout: 30 * time.Second,
		LastCxid: 4, LastZxid: 0x100000002, LastResponse: 1843630 * time.Millisecond, LastLatency: 3 * time.Millisecond, AvgLatency: 5 * time.Millisecond, MaxLatency: 11 * time.Millisecond,
	}, {Addr: "127.0.0.1:41822", Received: 1}})
	metrics, err := c.Mntr(ctx)
	assert.NilError(t, err)
	assert.Equal(t, metrics.Version, "3.9.5")
	assert.Equal(t, metrics.State, "follower")
	assert.Equal(t, metrics.Values["zk_znode_count"], 6.0)
	assert.Equal(t, metrics.Values["zk_avg_latency"], 5.2)
	assert.Equal(t, metrics.Text["zk_peer_state"], "following - broadcast")
	conf, err := c.Conf(ctx)
	assert.NilError(t, err)
	values := conf.Values
	conf.Values = nil
	assert.DeepEqual(t, conf, Conf{
		ServerID: 1, ClientPort: 12207, SecureClientPort: -1, DataDir: "/data/version-2", DataLogDir: "/data/version-2",
		TickTime: 500 * time.Millisecond, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
		InitLimit: 20, SyncLimit: 6, ConfigVersion: 0x100000000,
		Members: []string{
			"server.1=127.0.0.1:28782:30248:participant;127.0.0.1:12207",
			"server.2=127.0.0.1:26902:12167:participant;127.0.0.1:26710",
			"server.3=127.0.0.1:19934:15581:participant;127.0.0.1:12238",
		},
	})
	assert.Equal(t, values["quorumPort"], "28782")
	env, err := c.Envi(ctx)
	assert.NilError(t, err)
	assert.Equal(t, env["os.name"], "Linux")
	dump, err := c.Dump(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, dump, Dump{Sessions: []int64{id}, Ephemerals: map[int64][]string{id: {"/eph"}}})
	watches, err := c.Wchs(ctx)
	assert.NilError(t, err)
	assert.Equal(t, watches, Watches{1, 3, 3})
	bySession, err := c.Wchc(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, bySession, map[int64][]string{id: {"/eph", "/none", "/"}})
	byPath, err := c.Wchp(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, byPath, map[string][]int64{"/eph": {id}, "/none": {id}, "/": {id}})
	dirs, err := c.Dirs(ctx)
	assert.NilError(t, err)
	assert.Equal(t, dirs, Dirs{66218, 66218})

	leader, err := answering(t, recorded(t, "3.9.5-leader")).Srvr(ctx)
	assert.NilError(t, err)
	assert.Assert(t, leader.LastProposal == 88 && leader.MinProposal == 48 && leader.MaxProposal == 88, "%+v", leader)
	// The tracker of a follower of 3.4 says nothing of its sessions; sessions may have their first bit set.
	dump, err = answering(t, recorded(t, "3.4.14-follower")).Dump(ctx)
	assert.NilError(t, err)
	assert.Assert(t, len(dump.Sessions) == 0 && len(dump.Ephemerals) == 1, "%+v", dump)
	high, err := answering(t, map[string]string{"wchc": "0xff00000000000001\n\t/a b\n"}).Wchc(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, high, map[int64][]string{-0xffffffffffffff: {"/a b"}})
}

// Answers that tell that there is none, each with the address and the command.
func TestRefusals(t *testing.T) {
	ctx := t.Context()
	for word, command := range commands {
		for answer, want := range map[string]error{
			word + " is not executed because it is not in the whitelist.\n": ErrNotWhitelisted,
			"This ZooKeeper instance is not currently serving requests\n":   ErrNotServing,
			"":                                 ErrNoAnswer,
			"HTTP/1.1 400 Bad Request\r\n\r\n": ErrMalformed,
			"\x15\x03\x03\x00\x02\x02\x50":     ErrMalformed, // an alert of TLS
		} {
			c := answering(t, map[string]string{word: answer})
			got, err := command(ctx, c)
			assert.ErrorIs(t, err, want, "%s %q", word, answer)
			var e *Error
			assert.Assert(t, errors.As(err, &e) && e.Word == word && e.Addr == c.Addr, "%v", err)
			assert.ErrorContains(t, err, word)
			assert.ErrorContains(t, err, c.Addr)
			assert.Assert(t, got == nil || reflect.ValueOf(got).IsZero(), "%s: %+v beside an error", word, got)
		}
	}
	_, err := answering(t, map[string]string{"isro": "null"}).Isro(ctx)
	assert.ErrorIs(t, err, ErrNotServing)
	for _, word := range []string{"", "ruo", "ruokk", "RUOK", "r\nok", "ru\x00k"} {
		_, err := (Client{Addr: "127.0.0.1:1"}).Send(ctx, word)
		assert.ErrorContains(t, err, "four lower-case letters")
	}
	_, err = (Client{Addr: "127.0.0.1:1"}).Srvr(ctx)
	var op *net.OpError
	assert.Assert(t, errors.As(err, &op), "%v", err)
}

// Numbers that are none, or too large for what they stand for.
func TestHostileNumbers(t *testing.T) {
	answers := recorded(t, "3.9.5-follower")
	for _, x := range []struct{ word, old, new string }{
		{"srvr", "1/5.2/11", "1/NaN/11"}, {"srvr", "1/5.2/11", "1/Inf/11"}, {"srvr", "1/5.2/11", "1/5.2/1e300"}, {"srvr", "1/5.2/11", "1/5.2"},
		{"srvr", "Zxid: 0x", "Zxid: "}, {"srvr", "Zxid: 0x", "Zxid: 0x11111111111111111"}, {"srvr", "Received: 9", "Received: 9223372036854775808"},
		{"stat", "Sent: 9", "Sent: nine"}, {"stat", "Clients:", "Customers:"},
		{"cons", "to=30000", "to=9223372036854775807"}, {"cons", "est=1795533407125", "est=x"}, {"cons", "sid=0x", "sid=-0x"},
		{"conf", "clientPort=12207", "clientPort=2147483648"}, {"conf", "tickTime=500", "tickTime="}, {"conf", "version=100000000", "version=0x"},
		{"dump", "\t/eph", "\t/eph\n0xg:"}, {"wchs", "3 paths", "three paths"}, {"wchc", "0x", "0y"}, {"wchp", "/eph", "eph"},
		{"dirs", "datadir_size: 66218", "datadir_size: big"}, {"isro", "rw", "rwx"}, {"mntr", "zk_version\t", "zk_version "},
	} {
		answer := strings.Replace(answers[x.word], x.old, x.new, 1)
		assert.Assert(t, answer != answers[x.word], "%+v", x)
		_, err := commands[x.word](t.Context(), answering(t, map[string]string{x.word: answer}))
		assert.ErrorIs(t, err, ErrMalformed, "%+v", x)
	}
}

// An answer is bounded, and so is the time for it.
func TestBounds(t *testing.T) {
	endless := serving(t, func(conn net.Conn) {
		for err := error(nil); err == nil; {
			_, err = conn.Write(make([]byte, 64<<10))
		}
	})
	endless.MaxAnswer = 100_000
	_, err := endless.Srvr(t.Context())
	assert.ErrorIs(t, err, ErrTooLarge)
	c := answering(t, map[string]string{"envi": "Environment:\na=b\n"})
	c.MaxAnswer = len("Environment:\na=b\n")
	_, err = c.Envi(t.Context())
	assert.NilError(t, err)
	c.MaxAnswer--
	_, err = c.Envi(t.Context())
	assert.ErrorIs(t, err, ErrTooLarge)

	synctest.Test(t, func(t *testing.T) {
		silent := Client{Addr: "a.test:1", DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}}
		for _, secure := range []*tls.Config{nil, {}} {
			silent.TLS = secure
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			_, err = silent.Srvr(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Since(began), 20*time.Millisecond)
			cancel()
			_, err = silent.Srvr(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = silent.Srvr(context.Background())
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Since(began), 20*time.Millisecond+DefaultTimeout)
		}
	})
}

// overdue is a context whose deadline has passed, and whose own timer has not
// noticed it yet.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Nanosecond), true }

// The network's timer may be ahead of the context's: it is the context's end all the same.
func TestDeadlineOfNetwork(t *testing.T) {
	c := Client{Addr: "a.test:1", DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}}
	_, err := c.Srvr(overdue{t.Context()})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = c.Srvr(t.Context()) // in time, it is the network's
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Assert(t, !errors.Is(err, context.DeadlineExceeded), "%v", err)
}

// Without a deadline a command takes no longer than it says. This one dials into
// nothing, which costs no time.
func TestDefaultTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Client{Addr: "a.test:1", DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			assert.Equal(t, network+" "+addr, "tcp a.test:1")
			deadline, ok := ctx.Deadline()
			assert.Assert(t, ok)
			assert.Equal(t, time.Until(deadline), DefaultTimeout)
			return nil, io.ErrUnexpectedEOF
		}}
		assert.ErrorIs(t, c.Ruok(context.Background()), io.ErrUnexpectedEOF)
	})
}

// AwaitReadWrite finds the server that is not cut off, and waits for one.
func TestAwaitReadWrite(t *testing.T) { synctest.Test(t, testAwaitReadWrite) }

func testAwaitReadWrite(t *testing.T) {
	e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true})
	ctx := t.Context()
	addrs := e.Addrs()
	for i := range 3 {
		e.Member(i).SetReadOnly(i != 1)
	}
	in := Client{DialContext: e.DialContext}
	asked := in
	asked.Addr = addrs[0]
	readOnly, err := asked.Isro(ctx)
	assert.NilError(t, err)
	assert.Assert(t, readOnly)
	got, err := in.AwaitReadWrite(ctx, addrs)
	assert.NilError(t, err)
	assert.Equal(t, got, addrs[1])

	e.Member(1).Stop()
	short, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = in.AwaitReadWrite(short, addrs)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, time.Since(began), 250*time.Millisecond)
	for _, addr := range addrs {
		assert.ErrorContains(t, err, addr)
	}
	assert.ErrorContains(t, err, "read-only")

	rounds := 0
	c := Client{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == addrs[0] {
			if rounds++; rounds == 3 {
				e.Member(2).SetReadOnly(false)
			}
		}
		return e.DialContext(ctx, network, addr)
	}}
	began = time.Now()
	got, err = c.AwaitReadWrite(ctx, addrs)
	assert.NilError(t, err)
	assert.Equal(t, got, addrs[2])
	assert.Equal(t, rounds, 3)
	assert.Equal(t, time.Since(began), firstPause+2*firstPause)
	_, err = c.AwaitReadWrite(ctx, nil)
	assert.ErrorContains(t, err, "no servers")
}

// The pauses between the rounds are those that the comment states.
func TestAwaitReadWritePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		began := time.Now()
		var at []time.Duration
		c := Client{DialContext: func(context.Context, string, string) (net.Conn, error) {
			at = append(at, time.Since(began)/time.Millisecond)
			return nil, errors.New("refused")
		}}
		_, err := c.AwaitReadWrite(ctx, []string{"a:1"})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.DeepEqual(t, at, []time.Duration{0, 100, 300, 700, 1500, 3100, 6300, 12700, 22700, 32700})
	})
}

// Whatever a server says, there is an answer or an error.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	assert.NilError(f, err)
	for _, file := range files {
		for _, text := range recorded(f, strings.TrimSuffix(filepath.Base(file), ".txt")) {
			f.Add(text)
		}
	}
	for _, text := range []string{"", "\n", "\t/\n", "0x\n\t\n", "a=b", "(", ")[", "/[](", "[1](to=1e300)", "Clients:\n\n\n", "Latency min/avg/max: NaN/Inf/-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		check(t, parseSrvr, text)
		check(t, parseStat, text)
		check(t, parseMntr, text)
		check(t, parseIsro, text)
		check(t, parseConf, text)
		check(t, parseEnvi, text)
		check(t, parseDump, text)
		check(t, parseWchs, text)
		check(t, parseWchc, text)
		check(t, parseWchp, text)
		check(t, parseDirs, text)
		check(t, parseCons, text)
	})
}

func check[T any](t *testing.T, parse func(string) (T, error), text string) {
	t.Helper()
	got, err := parse(text)
	if err == nil {
		return
	}
	if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotServing) {
		t.Errorf("%q: %v", text, err)
	}
	if !reflect.ValueOf(&got).Elem().IsZero() {
		t.Errorf("%q: %+v beside %v", text, got, err)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// The commands above are all that a Client has.
func TestCommandsAreAll(t *testing.T) {
	var words []string
	client := reflect.TypeFor[Client]()
	for i := range client.NumMethod() {
		if name := client.Method(i).Name; name != "Send" && name != "AwaitReadWrite" {
			words = append(words, strings.ToLower(name))
		}
	}
	for word := range commands {
		assert.Assert(t, slices.Contains(words, word), word)
	}
	assert.Equal(t, len(words), len(commands))
}
