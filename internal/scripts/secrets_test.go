package scripts

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
)

// secrets are byte strings that must not appear in any text, in any disguise.
type secrets [][]byte

func (s secrets) in(text string) string {
	lower := strings.ToLower(text)
	for _, secret := range s {
		dec := strings.Trim(fmt.Sprint(secret), "[]") // 1 2 3
		var goSyntax, hexList []string
		for _, b := range secret {
			goSyntax = append(goSyntax, fmt.Sprintf("0x%x", b))
			hexList = append(hexList, fmt.Sprintf("%02x", b))
		}
		for _, form := range []string{
			string(secret), fmt.Sprintf("%q", secret), dec, strings.ReplaceAll(dec, " ", ", "), strings.ReplaceAll(dec, " ", ","), strings.Join(goSyntax, ", "),
			hex.EncodeToString(secret), strings.Join(hexList, " "), base64.StdEncoding.EncodeToString(secret), base64.URLEncoding.EncodeToString(secret),
		} {
			if strings.Contains(lower, strings.ToLower(form)) {
				return form
			}
		}
	}
	return ""
}

func (s secrets) absent(t testing.TB, what, text string) {
	t.Helper()
	if form := s.in(text); form != "" {
		t.Errorf("%s tells the secret as %q: %.500s", what, form, text)
	}
}

// The search itself must find every disguise.
func TestSecretsAreFound(t *testing.T) {
	s := secrets{[]byte("pass\x00\xffword")}
	for _, text := range []string{
		string(s[0]), fmt.Sprint(s[0]), fmt.Sprintf("%#v", s[0]), fmt.Sprintf("%x", s[0]), fmt.Sprintf("%X", s[0]), fmt.Sprintf("% x", s[0]), fmt.Sprintf("%q", s[0]),
		fmt.Sprintf("%+v", struct{ P []byte }{s[0]}), base64.StdEncoding.EncodeToString(s[0]),
	} {
		assert.Assert(t, s.in("before "+text+" after") != "", text)
	}
	assert.Equal(t, s.in("password"), "")
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%T", "%20v", "%!"}

// Neither the session's password nor a credential is ever printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	e := suite.Private(t, 1)
	log := new(suite.LockedBuffer)
	traced := new(suite.LockedBuffer)
	conf, l := e.Config()
	conf.Auth = []zk.Auth{zk.Digest("user", "Hush-Hush-1")}
	conf.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	addrs := conf.Addrs
	conf.Resolve = func(context.Context) ([]string, error) { return addrs, nil }
	conf.Trace = &zk.Trace{
		Resolved: func(ctx context.Context, addr string, _ time.Duration, err error) context.Context {
			fmt.Fprintf(traced, "%s %+v %#v", addr, err, err)
			return ctx
		},
		TLSStart:  func(_ context.Context, addr string) { fmt.Fprint(traced, addr) },
		Pong:      func(s *zk.Session, took time.Duration) { fmt.Fprintf(traced, "%+v %v", s, took) },
		DialStart: func(ctx context.Context, addr string) context.Context { fmt.Fprint(traced, addr); return ctx },
		DialDone:  func(_ context.Context, addr string, err error) { fmt.Fprintf(traced, "%+v %#v", err, err) },
		Handshake: func(_ context.Context, addr string, id int64, timeout time.Duration, err error) {
			fmt.Fprintf(traced, "%v %v %+v %#v", id, timeout, err, err)
		},
		DialFailed: func(_ context.Context, addr string, err error) { fmt.Fprintf(traced, "%+v %#v", err, err) },
		Begin:      func(_ context.Context, s *zk.Session, moved bool) { fmt.Fprintf(traced, "%+v %v", s, moved) },
		End:        func(s *zk.Session, err error) { fmt.Fprintf(traced, "%+v %+v %#v", s, err, err) },
		CallStart: func(ctx context.Context, s *zk.Session, c zk.Call) context.Context {
			fmt.Fprintf(traced, "%+v %#v %+v", s, c, s.Pending())
			return ctx
		},
		CallDone: func(_ context.Context, s *zk.Session, c zk.Call, err error) {
			fmt.Fprintf(traced, "%+v %#v %+v %#v", s, c, err, err)
		},
		Event: func(s *zk.Session, ev zk.Event, queued bool) { fmt.Fprintf(traced, "%+v %#v", s, ev) },
	}
	for hooks, i := reflect.ValueOf(*conf.Trace), 0; i < hooks.NumField(); i++ {
		field := hooks.Type().Field(i)
		assert.Check(t, !field.IsExported() || !hooks.Field(i).IsNil(), "nothing looks at what %s gets", field.Name)
	}
	s := e.Dial(conf)
	assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("user", "Hush-Hush-2")))
	ch := make(chan zk.Event, 1)
	e.Watch(s, "/", ch)
	conf = s.Config()
	hidden := secrets{conf.Password, []byte("Hush-Hush-1"), []byte("Hush-Hush-2"), []byte("user:Hush-Hush-1"), []byte("user:Hush-Hush-2")}
	assert.Equal(t, len(conf.Password), 16)
	assert.Equal(t, len(conf.Auth), 2)

	type wrapped struct {
		Name   string
		Config zk.Config
		Conf   *zk.Config
		State  zk.State
		Auth   []zk.Auth
	}
	show := func(what string, v any) {
		t.Helper()
		for _, verb := range verbs {
			hidden.absent(t, what+" by "+verb, fmt.Sprintf(verb, v))
		}
		hidden.absent(t, what+" by Sprint", fmt.Sprint(v))
		hidden.absent(t, what+" by Sprintln", fmt.Sprintln("x", v))
		hidden.absent(t, what+" in an error", fmt.Errorf("failed with %v: %w", v, errors.New("x")).Error())
		var text, obj strings.Builder
		for _, lg := range []*slog.Logger{slog.New(slog.NewTextHandler(&text, nil)), slog.New(slog.NewJSONHandler(&obj, nil))} {
			if _, isState := v.(zk.State); isState || !strings.Contains(what, "struct") {
				lg.Info("x", "v", v)
				lg.With("v", v).WithGroup("g").Warn("x", slog.Any("v", v))
			}
		}
		hidden.absent(t, what+" by slog's TextHandler", text.String())
		hidden.absent(t, what+" by slog's JSONHandler", obj.String())
	}
	show("Config", conf)
	show("*Config", &conf)
	show("State", conf.State)
	show("*State", &conf.State)
	show("Watches", conf.Watches)
	show("Auth", conf.Auth[0])
	show("*Auth", &conf.Auth[0])
	show("Renewed Config", conf.Renew())
	show("Session", s)
	show("a struct", wrapped{"x", conf, &conf, conf.State, conf.Auth})
	show("a pointer to a struct", &wrapped{"x", conf, &conf, conf.State, conf.Auth})
	for _, verb := range verbs {
		hidden.absent(t, "[]Auth by "+verb, fmt.Sprintf(verb, conf.Auth))
		hidden.absent(t, "[]Config by "+verb, fmt.Sprintf(verb, []zk.Config{conf}))
		hidden.absent(t, "map by "+verb, fmt.Sprintf(verb, map[string]zk.Config{"x": conf}))
	}

	// A Config is not marshalled at all; a State is, and says so.
	_, err := json.Marshal(conf)
	assert.ErrorContains(t, err, "Config.State")
	_, err = json.Marshal(struct{ C *zk.Config }{&conf})
	assert.ErrorContains(t, err, "Config.State")
	assert.Assert(t, json.Unmarshal([]byte("{}"), new(zk.Config)) != nil)
	_, err = json.Marshal(conf.Auth)
	assert.ErrorContains(t, err, "credential")
	_, err = json.Marshal(map[string]*zk.Auth{"x": &conf.Auth[0]})
	assert.ErrorContains(t, err, "credential")
	text, err := json.Marshal(conf.State)
	assert.NilError(t, err)
	assert.Assert(t, secrets{conf.Password}.in(string(text)) != "", "the State cannot be moved without its password")
	assert.Equal(t, secrets(hidden[1:]).in(string(text)), "")
	text, err = json.Marshal(conf.Watches)
	assert.NilError(t, err)
	hidden.absent(t, "Watches in JSON", string(text))

	// Errors of all kinds, with their stacks.
	var errs []error
	suite.EveryCall("/none/child", func(_ string, call func(context.Context, *zk.Session) error) { errs = append(errs, call(e.Ctx, s)) })
	errs = append(errs, s.AddAuth(e.Ctx, zk.Auth{Scheme: "nonsense", Credential: []byte("Hush-Hush-2")}))
	suite.Await(t, s.Done())
	errs = append(errs, s.Err(), s.Close())
	l.Fail(errors.New("no route"))
	_, err = zk.Dial(e.Ctx, s.Config())
	errs = append(errs, err)
	l.Fail(nil)
	bad := s.Config()
	bad.Auth = append(bad.Auth, zk.Auth{Scheme: "nonsense", Credential: []byte("Hush-Hush-2")})
	_, err = zk.Dial(e.Ctx, bad)
	errs = append(errs, err)
	e.Sim.Expire(s.ID())
	_, err = zk.Dial(e.Ctx, s.Config())
	errs = append(errs, err)
	bad = s.Config()
	bad.Chroot = "x"
	_, err = zk.Dial(e.Ctx, bad)
	errs = append(errs, err)
	seen := 0
	for _, err := range errs {
		if err != nil {
			seen++
			show("error", err)
		}
	}
	assert.Assert(t, seen > 15, "%d errors", seen)
	assert.Assert(t, strings.Contains(log.String(), "no route") && strings.Contains(traced.String(), "no route"))
	hidden.absent(t, "the Logger", log.String())
	hidden.absent(t, "the Trace", traced.String())
}

// What is printed instead is of use.
func TestConfigIsPrinted(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	conf := s.Config()
	for _, text := range []string{fmt.Sprint(conf), fmt.Sprintf("%+v", &conf), fmt.Sprintf("%#v", conf), conf.LogValue().String()} {
		for _, part := range []string{e.Addrs()[0], fmt.Sprintf("%x", uint64(s.ID())), conf.Timeout.String()} {
			assert.Assert(t, strings.Contains(text, part), "%s has no %s", text, part)
		}
	}
	assert.Assert(t, strings.Contains(fmt.Sprint(zk.Digest("user", "secret")), "digest"))
}

// What the documentation of Config says that no method can prevent is just that.
func TestSecretsThatCannotBeHidden(t *testing.T) {
	conf := zk.Config{Auth: []zk.Auth{zk.Digest("user", "Hush")}, State: zk.State{ID: 1, Password: []byte("0123456789abcdef")}}
	inside := struct{ conf zk.Config }{conf}
	printed := fmt.Sprintf("%+v", inside)
	assert.Assert(t, strings.Contains(printed, "48 49 50 51"), printed)
	hidden := secrets{conf.Password, []byte("Hush")}
	hidden.absent(t, "an exported field", fmt.Sprintf("%+v", struct{ Conf zk.Config }{conf}))
	hidden.absent(t, "an unexported pointer", fmt.Sprintf("%+v", struct{ conf *zk.Config }{&conf}))

	var out strings.Builder
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "state", conf.State, "config", conf)
	hidden.absent(t, "slog's JSONHandler", out.String())
	log.Info("x", "inside", struct{ State zk.State }{conf.State})
	assert.Assert(t, strings.Contains(out.String(), base64.StdEncoding.EncodeToString(conf.Password)), out.String())
}

// Without a Logger and a Trace nothing is printed, whatever happens: what a
// process of its own writes to its standard output and error.
func TestSilent(t *testing.T) {
	const begin, end = "now be silent\n", "done\n"
	if os.Getenv("ZK_TEST_SILENT") != "" {
		fmt.Print(begin)
		everythingHappens(t)
		if t.Failed() {
			return
		}
		fmt.Print(end)
		os.Exit(0)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSilent$")
	cmd.Env = append(os.Environ(), "ZK_TEST_SILENT=1")
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	_, printed, found := strings.Cut(string(out), begin)
	assert.Assert(t, found, "%s", out)
	assert.Equal(t, printed, end)
}

// everythingHappens has a Session log all that it would, if it had a Logger.
func everythingHappens(t *testing.T) {
	r := suite.NewRig(t)
	s, l := r.Open(r.Config())
	l.Send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	<-s.Done()
	assert.ErrorIs(t, s.Err(), zk.ErrProtocol)

	e := suite.Private(t, 1)
	_, err := zk.Dial(e.Ctx, zk.Config{Addrs: []string{"127.0.0.1:1"}})
	assert.ErrorIs(t, err, zk.ErrNoServer)
	conf, _ := e.Config()
	conf.DialContext = nil
	conf.Auth = []zk.Auth{{Scheme: "nonsense"}}
	_, err = zk.Dial(e.Ctx, conf)
	assert.ErrorIs(t, err, zk.ErrAuth)
	conf.Auth = nil
	s = e.Dial(conf)
	e.Create(s, "/a", "")
	closed := make(chan zk.Event)
	e.Watch(s, "/a", closed)
	close(closed)
	e.Set(s, "/a", "x")
	e.Fence(s)
	_, err = s.Set(e.Ctx, "/a", nil, 77)
	assert.ErrorIs(t, err, zk.ErrVersion)
	e.Sim.Cut(s.ID())
	<-s.Done()
	s, err = s.Redial(e.Ctx)
	assert.NilError(t, err)
	e.Sim.Expire(s.ID())
	<-s.Done()
	_, err = s.Redial(e.Ctx)
	assert.ErrorIs(t, err, zk.ErrExpired)
	s, err = s.Renew(e.Ctx)
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
}
