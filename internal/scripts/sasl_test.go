package scripts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var saslUsers = map[string]string{"bob": "secret", "alice": "Hush-Hush", "jörg": "Straße", "日本": "Ω"}

// withSASL runs a test on servers that know saslUsers: in this process, and
// real ones with these properties more.
func withSASL(t *testing.T, o zktest.Options, properties map[string]string, f func(t *testing.T, e *suite.Env)) {
	t.Helper()
	for v := zktest.V34; v <= zktest.V39; v++ {
		t.Run("sim-"+v.String(), func(t *testing.T) {
			o := o
			o.Version, o.SASL, o.Super = v, saslUsers, apache.SuperCredential
			f(t, suite.Private(t, 1, o))
		})
	}
	for _, release := range apache.Tested() {
		t.Run("apache-"+string(release), func(t *testing.T) { f(t, realSASL(t, release, properties)) })
	}
}

// realSASL starts a real server that knows saslUsers.
func realSASL(t *testing.T, release apache.Release, properties map[string]string) *suite.Env {
	t.Helper()
	apache.Need(t)
	text := "Server { org.apache.zookeeper.server.auth.DigestLoginModule required\n"
	for user, password := range saslUsers {
		text += fmt.Sprintf("user_%s=\"%s\"\n", user, password)
	}
	jaas := filepath.Join(t.TempDir(), "jaas.conf")
	assert.NilError(t, os.WriteFile(jaas, []byte(text+"; };\n"), 0o644))
	props := map[string]string{
		"java.security.auth.login.config": jaas,
		"zookeeper.authProvider.sasl":     "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
		"zookeeper.fips-mode":             "false", // which forbids MD5
	}
	for k, v := range properties {
		props[k] = v
	}
	versions := map[apache.Release]zktest.Version{
		apache.V3_4: zktest.V34, apache.V3_5: zktest.V35, apache.V3_6: zktest.V36, apache.V3_7: zktest.V37, apache.V3_8: zktest.V38, apache.V3_9: zktest.V39,
	}
	s := &suite.Server{Members: 1, Version: versions[release], Release: release}
	s.Apache = apache.New(t, apache.Config{Release: release, Properties: props})
	return &suite.Env{Backend: suite.Backend{Server: s}, T: t, Ctx: suite.NewContext(t)}
}

func saslConfig(e *suite.Env, user, password string) (zk.Config, *suite.Link) {
	conf, l := e.Config()
	conf.SASL = sasl.DigestMD5(user, password)
	return conf, l
}

// isUser checks what the server knows of a Session, where it tells.
func isUser(e *suite.Env, s *zk.Session, user string) {
	e.T.Helper()
	if e.Version < zktest.V37 {
		return
	}
	infos, err := s.WhoAmI(e.Ctx)
	assert.NilError(e.T, err)
	var list []string
	for _, i := range infos {
		list = append(list, i.Scheme+":"+i.User)
	}
	slices.Sort(list)
	assert.DeepEqual(e.T, list, []string{"ip:127.0.0.1", "sasl:" + user})
}

// Every user with its password is who it says, on this connection and the next,
// and passes ACLs of the scheme sasl; nobody else does.
func TestSASL(t *testing.T) {
	withSASL(t, zktest.Options{}, nil, func(t *testing.T, e *suite.Env) {
		stranger := e.Session()
		for user, password := range saslUsers {
			conf, l := saslConfig(e, user, password)
			s := e.Dial(conf)
			isUser(e, s, user)
			mine, creators := "/mine-"+user, "/creators-"+user
			_, err := s.Create(e.Ctx, mine, nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll, Scheme: "sasl", ID: user}})
			assert.NilError(t, err)
			_, err = s.Create(e.Ctx, creators, nil, zk.Persistent, zk.ACLCreator)
			assert.NilError(t, err)
			for _, path := range []string{mine, creators} {
				acl, _, err := s.GetACL(e.Ctx, path)
				assert.NilError(t, err)
				assert.DeepEqual(t, acl, zk.ACL{{Perms: zk.PermAll, Scheme: "sasl", ID: user}})
				_, _, err = stranger.Get(e.Ctx, path, nil)
				assert.ErrorIs(t, err, zk.ErrNoAuth)
			}

			// The next connection proves it again: before it restores the watch,
			// which nobody else may set.
			ch := make(chan zk.Event, 1)
			e.Watch(s, mine, ch)
			e.Cut(s, l)
			next, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			e.Keep(next)
			assert.Equal(t, next.ID(), s.ID())
			isUser(e, next, user)
			e.Set(next, mine, "x")
			e.Want(ch, zk.Changed, mine)

			// Not so a Config without it.
			conf = next.Detach()
			conf.SASL = nil
			bare := e.Dial(conf)
			_, _, err = bare.Get(e.Ctx, mine, nil)
			assert.ErrorIs(t, err, zk.ErrNoAuth)
		}
	})
}

// A refusal by all servers is ErrAuth. The session that was to move is not lost by it.
func TestSASLRefused(t *testing.T) {
	withSASL(t, zktest.Options{}, nil, func(t *testing.T, e *suite.Env) {
		conf, l := saslConfig(e, "bob", "secret")
		s := e.Dial(conf)
		_, err := s.Create(e.Ctx, "/ephemeral", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 1)
		e.Watch(s, "/ephemeral", ch)
		whole := s.Detach()
		for _, c := range []struct{ user, password string }{{"bob", "Secret"}, {"bob", ""}, {"bert", "x"}, {"Bob", "x"}, {"日本", "日本"}} {
			for _, moving := range []bool{false, true} {
				conf := whole
				if !moving {
					conf, l = e.Config()
				}
				conf.SASL = sasl.DigestMD5(c.user, c.password)
				conf.Addrs = append(slices.Clone(conf.Addrs), conf.Addrs...)
				before := len(l.Dialed())
				next, err := zk.Dial(e.Ctx, conf)
				assert.Assert(t, next == nil)
				if e.Version == zktest.V34 { // it only hangs up
					assert.ErrorIs(t, err, zk.ErrNoServer)
					continue
				}
				assert.ErrorIs(t, err, zk.ErrAuth)
				assert.ErrorIs(t, err, zk.ErrAuthFailed)
				assert.Assert(t, !errors.Is(err, zk.ErrExpired), "%v", err)
				if !moving {
					assert.Equal(t, len(l.Dialed())-before, 1)
				}
			}
		}
		next := e.Dial(whole)
		assert.Equal(t, next.ID(), s.ID())
		e.Set(next, "/ephemeral", "x")
		e.Want(ch, zk.Changed, "/ephemeral")
	})
}

// A server without SASL says so by a null token, and is not taken for one that
// has accepted. So is one that keeps clients whom it has refused.
func TestSASLIsNotSkipped(t *testing.T) {
	refused := func(t *testing.T, e *suite.Env, password string, kind sasl.Error) {
		t.Helper()
		conf, _ := saslConfig(e, "bob", password)
		s, err := zk.Dial(e.Ctx, conf)
		assert.Assert(t, s == nil)
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.Assert(t, errors.Is(err, kind), "%v", err)
	}
	t.Run("sim", func(t *testing.T) { refused(t, suite.Private(t, 1), "secret", sasl.ErrUnsupported) })
	for _, release := range apache.Tested() {
		t.Run("apache-"+string(release), func(t *testing.T) {
			apache.Need(t)
			e := apache.New(t, apache.Config{Release: release})
			refused(t, &suite.Env{Backend: suite.Backend{Server: &suite.Server{Release: release, Apache: e}}, T: t, Ctx: suite.NewContext(t)}, "secret", sasl.ErrUnsupported)
		})
		t.Run("lenient-"+string(release), func(t *testing.T) {
			e := realSASL(t, release, map[string]string{"zookeeper.allowSaslFailedClients": "true"})
			refused(t, e, "wrong", sasl.ErrUnproved)
			conf, _ := saslConfig(e, "bob", "secret")
			e.Dial(conf)
		})
	}
}

// Where SASL is required nothing else may come before it.
func TestSASLRequired(t *testing.T) {
	required := map[string]string{"zookeeper.sessionRequireClientSASLAuth": "true"}
	withSASL(t, zktest.Options{RequireSASL: true}, required, func(t *testing.T, e *suite.Env) {
		if e.Version == zktest.V34 {
			t.Skip("since 3.5")
		}
		conf, _ := saslConfig(e, "bob", "secret")
		conf.Auth = []zk.Auth{zk.Digest("a", "b")}
		s := e.Dial(conf)
		ch := make(chan zk.Event, 1)
		e.Create(s, "/node", "")
		e.Watch(s, "/node", ch)
		s = e.Move(s)
		e.Set(s, "/node", "x")
		e.Want(ch, zk.Changed, "/node")
		e.Watch(s, "/node", ch)

		conf = s.Detach()
		good := conf
		conf.SASL = nil
		_, err := zk.Dial(e.Ctx, conf) // by SetWatches
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.ErrorIs(t, err, zk.ErrSASLRequired)
		conf.SASL = sasl.DigestMD5("bob", "wrong")
		_, err = zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.ErrorIs(t, err, zk.ErrSASLRequired)
		e.Set(e.Dial(good), "/node", "y")
		e.Want(ch, zk.Changed, "/node")

		s = e.Session() // nothing was asked of it yet
		_, _, err = s.Get(e.Ctx, "/node", nil)
		suite.CheckOutcome(t, err, zk.Answered, zk.ErrSASLRequired)
		assert.ErrorIs(t, err, zk.ErrConnection)
		suite.Await(t, s.Done())
	})
}

// SASL is over before credentials and watches are sent, and takes none of
// MaxInFlight.
func TestSASLComesFirst(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, plain *suite.Env) {
		plain.Sim.Close()
		o := suite.SimOptions(zktest.V39)
		o.InMemory, o.SASL = true, saslUsers
		e := suite.Private(t, 1, o)
		conf, _ := saslConfig(e, "bob", "secret")
		conf.Auth = []zk.Auth{zk.Digest("a", "b"), zk.Digest("c", "d")}
		conf.MaxInFlight = 1
		s := e.Dial(conf)
		e.Create(s, "/node", "")
		ch := make(chan zk.Event, 1)
		e.Watch(s, "/node", ch)
		persistent := make(chan zk.Event, 1)
		assert.NilError(t, s.AddWatch(e.Ctx, "/node", zk.WatchPersistent, persistent))
		e.Sim.ForgetFrames()
		s = e.Move(s)
		e.Set(s, "/node", "x")
		var order []string
		for _, f := range e.Sim.Frames() {
			if f.Conn == 2 && f.Op != wire.OpNotification {
				dir := map[zktest.Direction]string{zktest.FromClient: "> ", zktest.ToClient: "< "}[f.Dir]
				name := f.Op.String()
				if f.Op == zktest.OpConnect {
					name = "connect"
				}
				order = append(order, dir+name)
			}
		}
		assert.Equal(t, strings.Join(order, "\n"), strings.Join([]string{
			"> connect", "< connect", "> sasl", "< sasl", "> sasl", "< sasl",
			"> auth", "< auth", "> auth", "< auth", "> setWatches2", "< setWatches2", "> setData", "< setData",
		}, "\n"))
	})
}

const saslChallenge = `realm="zk-sasl-md5",nonce="n",charset=utf-8,algorithm=md5-sess`

// tokenFor is a reply to a step of SASL.
func tokenFor(a suite.Asked, token []byte) []byte {
	return suite.Answer(a.Xid, 0, wire.SASLResponse{Token: token})
}

// A server that lies, or talks nonsense, gets no session.
func TestSASLHostileServer(t *testing.T) {
	for name, c := range map[string]struct {
		tokens []string
		kind   error
	}{
		"no proof":            {[]string{saslChallenge, ""}, sasl.ErrUnproved},
		"a wrong proof":       {[]string{saslChallenge, "rspauth=ea40f60335c427b5527b84dbabcdfffd"}, sasl.ErrUnproved},
		"the challenge again": {[]string{saslChallenge, saslChallenge}, sasl.ErrUnproved},
		"nothing":             {[]string{""}, sasl.ErrUnsupported},
		"no nonce":            {[]string{`realm="zk-sasl-md5",algorithm=md5-sess`}, sasl.ErrMalformed},
		"two nonces":          {[]string{saslChallenge + `,nonce="m"`}, sasl.ErrMalformed},
		"unknown qop":         {[]string{saslChallenge + `,qop="auth-conf"`}, sasl.ErrUnsupported},
		"unknown algorithm":   {[]string{`nonce="n",algorithm=sha`}, sasl.ErrUnsupported},
		"open quotes":         {[]string{`nonce="n`}, sasl.ErrMalformed},
		"bytes":               {[]string{"\x00\xff\xfe"}, sasl.ErrMalformed},
		"huge":                {[]string{strings.Repeat(saslChallenge+",", 1<<13)}, sasl.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				for _, moving := range []bool{false, true} {
					conf := r.Config()
					conf.SASL = sasl.DigestMD5("bob", "secret")
					conf.Auth = []zk.Auth{zk.Digest("a", "b")}
					if moving {
						conf.ID, conf.Password = suite.RigID, suite.RigPassword
					}
					d := r.Begin(conf)
					l := r.Accept()
					l.Greet()
					for _, tok := range c.tokens {
						l.Send(tokenFor(l.Want(wire.OpSASL, ""), []byte(tok)))
					}
					err := d.Wait()
					assert.Assert(t, d.S == nil)
					assert.ErrorIs(t, err, zk.ErrAuth)
					assert.Assert(t, errors.Is(err, c.kind) && !errors.Is(err, zk.ErrNoServer), "%v", err)
					assert.Assert(t, len(err.Error()) < 300, "%v", err)
					if !moving {
						l.Want(wire.OpCloseSession, "")
					}
					l.HungUp()
				}
			})
		})
	}
}

// Replies to SASL that no server sends.
func TestSASLHostileReplies(t *testing.T) {
	for name, c := range map[string]struct {
		reply func(a suite.Asked) []byte
		kind  error
	}{
		"no token at all": {func(a suite.Asked) []byte { return suite.Answer(a.Xid, 0, nil) }, zk.ErrProtocol},
		"token cut short": {func(a suite.Asked) []byte {
			return suite.Framed(wire.ReplyHeader{Xid: a.Xid}, rawRecord("\x00\x00\x00\x09x"))
		}, zk.ErrProtocol},
		"negative length": {func(a suite.Asked) []byte {
			return suite.Framed(wire.ReplyHeader{Xid: a.Xid}, rawRecord("\xff\xff\xff\xfe"))
		}, zk.ErrProtocol},
		"another xid":       {func(a suite.Asked) []byte { return suite.Answer(a.Xid+1, 0, wire.SASLResponse{}) }, zk.ErrProtocol},
		"an unknown code":   {func(a suite.Asked) []byte { return suite.Refusal(a.Xid, 0, -12345) }, zk.Code(-12345)},
		"the wrong refusal": {func(a suite.Asked) []byte { return suite.Refusal(a.Xid, 0, zk.ErrNoAuth) }, zk.ErrNoAuth},
		"refused, no token": {func(a suite.Asked) []byte { return suite.Refusal(a.Xid, 0, zk.ErrAuthFailed) }, zk.ErrAuth},
		"an end":            {nil, zk.ErrConnection},
	} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				for steps := range 2 {
					conf := r.Config()
					conf.SASL = sasl.DigestMD5("bob", "secret")
					d := r.Begin(conf)
					l := r.Accept()
					l.Greet()
					for range steps {
						l.Send(tokenFor(l.Want(wire.OpSASL, ""), []byte(saslChallenge)))
					}
					a := l.Want(wire.OpSASL, "")
					if c.reply == nil {
						l.Close()
					} else {
						l.Send(c.reply(a))
					}
					err := d.Wait()
					assert.Assert(t, d.S == nil)
					assert.Assert(t, errors.Is(err, c.kind), "%v", err)
					assert.Equal(t, errors.Is(err, zk.ErrAuth), c.kind == zk.ErrAuth)
				}
			})
		})
	}
}

type rawRecord string

func (r rawRecord) Append(b []byte) []byte { return append(b, r...) }

// A Dial that waits for a step of SASL ends with its context, and without one
// when the connection is dead.
func TestSASLStalls(t *testing.T) {
	for step := range 2 {
		for _, how := range []string{"cancel", "deadline", "nothing"} {
			t.Run(fmt.Sprintf("step %d/%s", step+1, how), func(t *testing.T) {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					conf := r.Config()
					conf.SASL = sasl.DigestMD5("bob", "secret")
					ctx, cancel := context.WithCancel(suite.BG)
					want, took := error(zk.ErrNoServer), suite.RigTimeout*2/3
					switch how {
					case "cancel":
						time.AfterFunc(time.Second, cancel)
						want, took = context.Canceled, time.Second
					case "deadline":
						ctx, cancel = context.WithTimeout(suite.BG, time.Second)
						want, took = context.DeadlineExceeded, time.Second
					}
					defer cancel()
					began := time.Now()
					d := r.BeginContext(ctx, conf)
					l := r.Accept()
					l.Greet()
					for range step {
						l.Send(tokenFor(l.Want(wire.OpSASL, ""), []byte(saslChallenge)))
					}
					l.Want(wire.OpSASL, "")
					err := d.Wait()
					assert.Assert(t, errors.Is(err, want) && !errors.Is(err, zk.ErrAuth), "%v", err)
					if t2 := time.Since(began); how != "nothing" && t2 != took || t2 < took || t2 > took+tick {
						t.Errorf("returned after %v, not %v", t2, took)
					}
					_, err = io.Copy(io.Discard, l)
					assert.NilError(t, err) // it was closed
				})
			})
		}
	}
}

// slowSASL is a mechanism that takes its time in each step.
type slowSASL struct {
	start, next time.Duration
	err         error // of Start
	hosts       *[]string
}

func (m slowSASL) Start(ctx context.Context, host string) (sasl.Exchange, []byte, error) {
	if m.hosts != nil {
		*m.hosts = append(*m.hosts, host)
	}
	select {
	case <-time.After(m.start):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return m, []byte("token"), m.err
}

func (m slowSASL) Next(challenge []byte) ([]byte, bool, error) {
	time.Sleep(m.next)
	return []byte("more"), string(challenge) == "last", nil
}

// However long an exchange takes, no ping comes between its steps: a server that
// requires SASL would end the connection.
func TestSASLHoldsPings(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.SASL = slowSASL{start: suite.RigTimeout / 2, next: suite.RigTimeout / 4}
		d := r.Begin(conf)
		l := r.Accept()
		l.Greet()
		next := func() suite.Asked {
			t.Helper()
			body, err := l.Frame()
			assert.NilError(t, err)
			return suite.ParseAsked(body)
		}
		for _, tok := range []string{"one", "two", "last"} {
			a := next()
			assert.Equal(t, a.Op, wire.OpSASL)
			time.Sleep(suite.RigTimeout * 3 / 8) // with the next step less than two thirds
			l.Send(tokenFor(a, []byte(tok)))
		}
		s := d.Session()
		began := time.Now()
		assert.Equal(t, next().Op, wire.OpPing) // now they may
		assert.Assert(t, time.Since(began) <= suite.RigTimeout/6)
		s.Detach()
	})
}

// What a mechanism needs to start is done before there is a connection, in the
// time for connecting. Its error is ErrAuth if it is a refusal, else the reason of
// that server.
func TestSASLStart(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Addrs = []string{"server:2181", "[::1]:2182"}
		var hosts []string
		conf.SASL = slowSASL{start: time.Hour, hosts: &hosts}
		began := time.Now()
		_, err := zk.Dial(suite.BG, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Assert(t, !errors.Is(err, zk.ErrAuth), "%v", err)
		assert.Equal(t, time.Since(began), suite.RigTimeout)
		slices.Sort(hosts)
		assert.DeepEqual(t, hosts, []string{"::1", "server"})

		ctx, cancel := context.WithCancel(suite.BG)
		time.AfterFunc(time.Second, cancel)
		began = time.Now()
		_, err = zk.Dial(ctx, conf)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, time.Since(began), time.Second)

		broken := errors.New("no ticket")
		conf.SASL = slowSASL{err: broken}
		_, err = zk.Dial(suite.BG, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.ErrorIs(t, err, broken)
		assert.Assert(t, !errors.Is(err, zk.ErrAuth), "%v", err)
		conf.SASL = slowSASL{err: fmt.Errorf("%w: unknown principal", sasl.ErrCredential)}
		_, err = zk.Dial(suite.BG, conf)
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.ErrorIs(t, err, sasl.ErrCredential)
		assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err)
		assert.Equal(t, r.Connections(), 0)
	})
}

// A token that makes too large a frame is not sent.
func TestSASLTooLarge(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		for size, fits := range map[int]bool{100: true, 101: false} {
			conf := r.Config()
			conf.MaxRequest = 8 + 4 + 100
			conf.SASL = bigSASL(size)
			conf.ID, conf.Password = suite.RigID, suite.RigPassword
			d := r.Begin(conf)
			l := r.Accept()
			l.Greet()
			if fits {
				l.Send(tokenFor(l.Want(wire.OpSASL, ""), nil))
				d.Session().Detach()
				continue
			}
			assert.ErrorIs(t, d.Wait(), zk.ErrTooLarge)
			l.HungUp()
		}
	})
}

// bigSASL is a mechanism with a token of this size, which takes any answer.
type bigSASL int

func (m bigSASL) Start(context.Context, string) (sasl.Exchange, []byte, error) {
	return m, make([]byte, m), nil
}

func (bigSASL) Next([]byte) ([]byte, bool, error) { return nil, true, nil }

// The password is nowhere to be read.
func TestSASLSecret(t *testing.T) {
	e := suite.Private(t, 1, zktest.Options{SASL: saslUsers, Raw: true})
	log := new(suite.LockedBuffer)
	conf, _ := saslConfig(e, "alice", "Hush-Hush")
	conf.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	hidden := secrets{[]byte("Hush-Hush")}
	s := e.Dial(conf)
	_, err := zk.Dial(e.Ctx, func() zk.Config { c := conf; c.SASL = sasl.DigestMD5("bob", "Hush-Hush"); return c }())
	assert.ErrorIs(t, err, zk.ErrAuth)
	for _, v := range []any{conf, &conf, s, s.Config(), s.Config().SASL, err, struct{ c zk.Config }{conf}, struct{ m sasl.Mechanism }{conf.SASL}} {
		for _, verb := range verbs {
			hidden.absent(t, fmt.Sprintf("%T by %s", v, verb), fmt.Sprintf(verb, v))
		}
	}
	hidden.absent(t, "the Logger", log.String())
	for _, f := range e.Sim.Frames() {
		hidden.absent(t, "a frame", string(f.Raw))
	}
}
