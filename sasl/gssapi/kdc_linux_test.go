package gssapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/sasl/gssapi"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

const principal = "zookeeper/server.zk.test"

var enctypes = []string{"aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96", "aes128-cts-hmac-sha256-128", "aes256-cts-hmac-sha384-192"}

// kdc is a Kerberos server of MIT's, with a database of its own.
type kdc struct {
	t    *testing.T
	dir  string
	addr string
	env  []string
	stop func() // ends the process; may be called twice
}

// newKDC starts one whose keys are of one type, and that ends with the test. It skips the test unless the
// environment has ZK_TEST_KDC=1, as in make test-matrix.
func newKDC(t *testing.T, enctype string) *kdc {
	t.Helper()
	if os.Getenv("ZK_TEST_KDC") != "1" {
		t.Skip("no Kerberos server was run: use make test-matrix")
	}
	k := &kdc{t: t, dir: t.TempDir()}
	addr := freeAddr(t)
	k.addr = addr
	k.write("krb5.conf", `
[libdefaults]
default_realm = ZK.TEST
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
default_tkt_enctypes = `+enctype+`
default_tgs_enctypes = `+enctype+`
permitted_enctypes = `+enctype+`
[realms]
ZK.TEST = {
 kdc = `+addr+`
}
[domain_realm]
.zk.test = ZK.TEST
`)
	k.write("kdc.conf", `
[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = `+addr+`
[realms]
ZK.TEST = {
 database_name = `+k.path("principal")+`
 key_stash_file = `+k.path("stash")+`
 acl_file = `+k.path("acl")+`
 max_life = 1h
 master_key_type = `+enctype+`
 supported_enctypes = `+enctype+`:normal
}
[logging]
kdc = FILE:`+k.path("kdc.log")+`
`)
	k.env = append(os.Environ(), "KRB5_CONFIG="+k.path("krb5.conf"), "KRB5_KDC_PROFILE="+k.path("kdc.conf"))
	k.run("kdb5_util", "create", "-s", "-r", realm, "-P", "master")
	k.admin("addprinc -randkey " + principal)
	k.admin("addprinc -pw secret alice")
	k.admin("addprinc -randkey app/host")
	k.admin("ktadd -k " + k.path("server.keytab") + " " + principal)
	k.admin("ktadd -k " + k.path("app.keytab") + " app/host")
	k.start(addr)
	return k
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (k *kdc) path(name string) string { return filepath.Join(k.dir, name) }

func (k *kdc) write(name, text string) {
	k.t.Helper()
	assert.NilError(k.t, os.WriteFile(k.path(name), []byte(text), 0o600))
}

// command is one of Debian's packages krb5-kdc and krb5-admin-server, which
// install to where only root looks.
func (k *kdc) command(name string, args ...string) *exec.Cmd {
	k.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	assert.NilError(k.t, err, "install krb5-kdc and krb5-admin-server (names of Debian packages)")
	cmd := exec.Command(path, args...)
	cmd.Env = k.env
	return cmd
}

func (k *kdc) run(name string, args ...string) {
	k.t.Helper()
	out, err := k.command(name, args...).CombinedOutput()
	assert.NilError(k.t, err, "%s %q: %s", name, args, out)
}

func (k *kdc) admin(query string) { k.t.Helper(); k.run("kadmin.local", "-r", realm, "-q", query) }

// start starts the process and waits until it listens.
func (k *kdc) start(addr string) {
	k.t.Helper()
	cmd := k.command("krb5kdc", "-n", "-r", realm, "-P", k.path("pid"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the tests die
	started, end, ended := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread() // it would die with the thread that started it
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			<-end
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	assert.NilError(k.t, <-started)
	k.stop = sync.OnceFunc(func() { close(end); <-ended })
	k.t.Cleanup(k.stop)
	for range 1000 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	k.stop()
	log, _ := os.ReadFile(k.path("kdc.log"))
	k.t.Fatalf("the KDC does not listen: %s%s", out.Bytes(), log)
}

func (k *kdc) config() *config.Config {
	k.t.Helper()
	c, err := config.Load(k.path("krb5.conf"))
	assert.NilError(k.t, err)
	return c
}

// byPassword and byKeytab are clients of the principals alice and app/host.
func (k *kdc) byPassword(password string) *client.Client {
	cl := client.NewWithPassword("alice", realm, password, k.config())
	k.t.Cleanup(cl.Destroy)
	return cl
}

func (k *kdc) byKeytab() *client.Client {
	k.t.Helper()
	keys, err := keytab.Load(k.path("app.keytab"))
	assert.NilError(k.t, err)
	cl := client.NewWithKeytab("app/host", realm, keys, k.config())
	k.t.Cleanup(cl.Destroy)
	return cl
}

// zookeeper starts a server that takes nobody but by Kerberos.
func (k *kdc) zookeeper(release apache.Release) *apache.Ensemble {
	k.t.Helper()
	k.write("jaas.conf", `Server { com.sun.security.auth.module.Krb5LoginModule required
 useKeyTab=true keyTab="`+k.path("server.keytab")+`" storeKey=true useTicketCache=false principal="`+principal+`"; };`)
	return apache.New(k.t, apache.Config{Release: release, Properties: map[string]string{
		"java.security.auth.login.config":        k.path("jaas.conf"),
		"java.security.krb5.conf":                k.path("krb5.conf"),
		"zookeeper.authProvider.sasl":            "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
		"zookeeper.sessionRequireClientSASLAuth": "true",
	}})
}

// named names the one server that there is.
func named(context.Context, string) (string, error) { return "server.zk.test", nil }

func mechanism(cl *client.Client) gssapi.Mechanism { return gssapi.Mechanism{Client: cl, Host: named} }

// isUser checks what a server knows of a Session, where it tells.
func isUser(t *testing.T, release apache.Release, s *zk.Session, user string) {
	t.Helper()
	if release < apache.V3_7 {
		return
	}
	infos, err := s.WhoAmI(t.Context())
	assert.NilError(t, err)
	var list []string
	for _, i := range infos {
		list = append(list, i.Scheme+":"+i.User)
	}
	slices.Sort(list)
	assert.DeepEqual(t, list, []string{"ip:127.0.0.1", "sasl:" + user})
}

// Real servers take a principal for who it is, and nobody else.
func TestKerberos(t *testing.T) {
	releases := apache.Tested()
	for i := range max(len(enctypes), len(releases)) { // every one of both
		enctype, release := enctypes[i%len(enctypes)], releases[i%len(releases)]
		t.Run(string(release)+"/"+enctype, func(t *testing.T) {
			k := newKDC(t, enctype)
			e := k.zookeeper(release)
			conf := func(m sasl.Mechanism) zk.Config {
				return zk.Config{Addrs: e.Addrs(), Timeout: 20 * time.Second, SASL: m}
			}
			dial := func(c zk.Config) *zk.Session {
				t.Helper()
				s, err := zk.Dial(t.Context(), c)
				assert.NilError(t, err)
				t.Cleanup(func() { s.Close() })
				return s
			}

			alice := dial(conf(mechanism(k.byPassword("secret"))))
			isUser(t, release, alice, "alice@"+realm)
			app := dial(conf(mechanism(k.byKeytab())))
			isUser(t, release, app, "app/host@"+realm)
			_, err := alice.Create(t.Context(), "/alice", nil, zk.Persistent, zk.ACLCreator)
			assert.NilError(t, err)
			_, _, err = app.Get(t.Context(), "/alice", nil)
			assert.ErrorIs(t, err, zk.ErrNoAuth)
			acl, _, err := alice.GetACL(t.Context(), "/alice")
			assert.NilError(t, err)
			assert.DeepEqual(t, acl, zk.ACL{{Perms: zk.PermAll, Scheme: "sasl", ID: "alice@" + realm}})

			refused := func(m sasl.Mechanism, kinds ...error) {
				t.Helper()
				s, err := zk.Dial(t.Context(), conf(m))
				assert.Assert(t, s == nil)
				for _, kind := range append(kinds, zk.ErrAuth) {
					assert.Assert(t, errors.Is(err, kind), "%v is not %v", err, kind)
				}
				assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v", err, err), "secret"))
			}
			refused(mechanism(k.byPassword("wrong")), sasl.ErrCredential)
			refused(gssapi.Mechanism{Client: k.byKeytab(), Host: named, Service: "other"}, sasl.ErrCredential)
			refused(gssapi.Mechanism{Client: k.byKeytab()}, sasl.ErrCredential) // by its address
			refused(gssapi.Mechanism{}, sasl.ErrCredential)
			if release > apache.V3_4 { // which only hangs up
				refused(sasl.DigestMD5("alice", "secret"), zk.ErrSASLRequired)
			}

			// An exchange for each connection, with watches behind it.
			ch := make(chan zk.Event, 1)
			_, _, err = alice.Get(t.Context(), "/alice", ch)
			assert.NilError(t, err)
			for range 5 {
				alice = dial(alice.Detach())
			}
			k.stop() // its tickets last
			alice = dial(alice.Detach())
			isUser(t, release, alice, "alice@"+realm)
			_, err = alice.Set(t.Context(), "/alice", []byte("x"), -1)
			assert.NilError(t, err)
			select {
			case ev := <-ch:
				assert.Equal(t, ev.Path, "/alice")
			case <-time.After(time.Minute):
				t.Fatal("no event")
			}
			_, _, err = mechanism(k.byKeytab()).Start(t.Context(), "server.zk.test") // there is no KDC
			assert.ErrorIs(t, err, sasl.ErrUnavailable)
			assert.Assert(t, !sasl.Refused(err))
		})
	}
}

// A ticket that the server cannot read: its key has changed since its keytab was made.
func TestKerberosStaleKeytab(t *testing.T) {
	k := newKDC(t, enctypes[0])
	e := k.zookeeper(apache.Default()[0])
	k.admin("cpw -randkey " + principal)
	_, err := zk.Dial(t.Context(), zk.Config{Addrs: e.Addrs(), SASL: mechanism(k.byKeytab())})
	assert.ErrorIs(t, err, zk.ErrSASLRequired)
	assert.ErrorIs(t, err, zk.ErrAuth)
}

// A server that has another mechanism than Kerberos, or none.
func TestKerberosElsewhere(t *testing.T) {
	k := newKDC(t, enctypes[0])
	for kind, users := range map[sasl.Error]map[string]string{sasl.ErrMalformed: {"alice": "secret"}, sasl.ErrUnsupported: nil} {
		server := zktest.NewServer(t, zktest.Options{SASL: users})
		_, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs(), SASL: mechanism(k.byKeytab())})
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.Assert(t, errors.Is(err, kind), "%v", err)
	}
}

// Three servers behind one name: the ticket is for the one whose address is
// connected to, and a KDC that does not know one of them refuses that one only.
func TestKerberosAddresses(t *testing.T) {
	k := newKDC(t, enctypes[0])
	for _, name := range []string{"zk1", "zk2"} {
		k.admin("addprinc -randkey zookeeper/" + name + ".zk.test")
	}
	cl := k.byKeytab()
	cl.Config.LibDefaults.DNSCanonicalizeHostname, cl.Config.LibDefaults.RDNS = true, true
	for i := range 60 {
		n := i%2 + 1
		ctx := sasl.WithServer(t.Context(), "three.zk.test", netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + n)}))
		_, token, err := gssapi.Mechanism{Client: cl}.Start(ctx, "three.zk.test")
		assert.NilError(t, err)
		_, body, ok := bytes.Cut(token, append(bytes.Clone(oid), 1, 0))
		assert.Assert(t, ok)
		var req messages.APReq
		assert.NilError(t, req.Unmarshal(body))
		assert.Equal(t, req.Ticket.SName.PrincipalNameString(), fmt.Sprintf("zookeeper/zk%d.zk.test", n))
	}
	_, _, err := gssapi.Mechanism{Client: cl}.Start(sasl.WithServer(t.Context(), "three.zk.test", netip.AddrFrom4([4]byte{127, 0, 0, 4})), "three.zk.test")
	assert.ErrorIs(t, err, sasl.ErrCredential)
	assert.ErrorContains(t, err, `"zookeeper/zk3.zk.test"`)

	// A KDC that is away for a moment.
	k.stop()
	fresh := k.byPassword("secret")
	_, _, err = mechanism(fresh).Start(t.Context(), "server.zk.test")
	assert.Assert(t, errors.Is(err, sasl.ErrUnavailable) && !sasl.Refused(err), "%v", err)
	k.start(k.addr)
	_, _, err = mechanism(fresh).Start(t.Context(), "server.zk.test")
	assert.NilError(t, err)
	_, _, err = mechanism(k.byPassword("wrong")).Start(t.Context(), "server.zk.test")
	assert.Assert(t, errors.Is(err, sasl.ErrCredential) && sasl.Refused(err), "%v", err)
	k.admin("modprinc +requires_preauth alice")
	_, _, err = mechanism(k.byPassword("wrong")).Start(t.Context(), "server.zk.test")
	assert.Assert(t, errors.Is(err, sasl.ErrCredential) && sasl.Refused(err), "%v", err)
	k.admin("delprinc -force alice")
	_, _, err = mechanism(k.byPassword("secret")).Start(t.Context(), "server.zk.test")
	assert.Assert(t, errors.Is(err, sasl.ErrCredential) && sasl.Refused(err), "%v", err)
}
