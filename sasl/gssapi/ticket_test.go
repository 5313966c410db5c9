package gssapi_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/sasl/gssapi"
)

// fakeKDC answers what a client asks. It logs in whom it knows by a ticket of its
// own; a nil answer hangs up.
type fakeKDC struct {
	t    testing.TB
	addr string

	mu     sync.Mutex
	login  func(k *fakeKDC, q messages.ASReq) []byte // an AS-REQ
	ticket func(k *fakeKDC) []byte                   // a TGS-REQ
	logins int
}

func newFakeKDC(t testing.TB) *fakeKDC {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	t.Cleanup(func() { l.Close() })
	k := &fakeKDC{t: t, addr: l.Addr().String(), login: (*fakeKDC).welcome}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			k.serve(conn)
		}
	}()
	return k
}

func (k *fakeKDC) serve(conn net.Conn) {
	defer conn.Close()
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var answer []byte
	var q messages.ASReq
	if q.Unmarshal(body) == nil {
		k.logins++
		answer = k.login(k, q)
	} else {
		answer = k.ticket(k)
	}
	if answer != nil {
		conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...))
	}
}

// refuse is an answer with a code, and a text that a terminal would obey.
func refuse(code int32) []byte {
	e := messages.NewKRBError(types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/"+realm), realm, code, "no\x1b[2J \"KRB Error: (6)\"")
	b, err := e.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func refuseLogin(code int32) func(*fakeKDC, messages.ASReq) []byte {
	return func(*fakeKDC, messages.ASReq) []byte { return refuse(code) }
}

// wantPreauth asks for a proof of the client's key first, and does not take it.
func wantPreauth(_ *fakeKDC, q messages.ASReq) []byte {
	if q.PAData.Contains(patype.PA_ENC_TIMESTAMP) {
		return refuse(errorcode.KDC_ERR_PREAUTH_FAILED)
	}
	info, err := asn1.Marshal(types.ETypeInfo2{{EType: aes}})
	if err != nil {
		panic(err)
	}
	data, err := asn1.Marshal(types.PADataSequence{{PADataType: patype.PA_ETYPE_INFO2, PADataValue: info}})
	if err != nil {
		panic(err)
	}
	e := messages.NewKRBError(types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/"+realm), realm, errorcode.KDC_ERR_PREAUTH_REQUIRED, "")
	e.EData = data
	b, err := e.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func refuseTicket(code int32) func(*fakeKDC) []byte {
	return func(*fakeKDC) []byte { return refuse(code) }
}

const aes = etypeID.AES128_CTS_HMAC_SHA1_96

// aliceKeys and otherKeys are keytabs of the client's principal, of which the KDC
// has the first.
var aliceKeys, otherKeys = sync.OnceValue(func() *keytab.Keytab { return keysOf("secret", aes) }), sync.OnceValue(func() *keytab.Keytab { return keysOf("other", aes) })

func keysOf(password string, etype int32) *keytab.Keytab {
	keys := keytab.New()
	if err := keys.AddEntry("alice", realm, password, time.Now(), 1, etype); err != nil {
		panic(err)
	}
	return keys
}

// welcome gives a ticket to whoever has alice's key.
func (k *fakeKDC) welcome(q messages.ASReq) []byte {
	now := time.Now().UTC().Truncate(time.Second)
	krbtgt := types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/"+realm)
	keys := keytab.New()
	assert.Check(k.t, keys.AddEntry("krbtgt/"+realm, realm, "kdc", now, 1, aes))
	tkt, session, err := messages.NewTicket(q.ReqBody.CName, realm, krbtgt, realm, types.NewKrbFlags(), keys, aes, 1, now, now, now.Add(time.Hour), now.Add(2*time.Hour))
	assert.Check(k.t, err)
	part := messages.EncKDCRepPart{
		Key: session, LastReqs: []messages.LastReq{}, Nonce: q.ReqBody.Nonce, Flags: types.NewKrbFlags(),
		AuthTime: now, StartTime: now, EndTime: now.Add(time.Hour), RenewTill: now.Add(2 * time.Hour), SRealm: realm, SName: krbtgt,
	}
	plain, err := part.Marshal()
	assert.Check(k.t, err)
	key, kvno, err := aliceKeys().GetEncryptionKey(q.ReqBody.CName, realm, 1, aes)
	assert.Check(k.t, err)
	enc, err := crypto.GetEncryptedData(plain, key, keyusage.AS_REP_ENCPART, kvno)
	assert.Check(k.t, err)
	raw, err := tkt.Marshal()
	assert.Check(k.t, err)
	// Marshal of messages.ASRep leaves PAData out wrongly; these are its fields.
	b, err := asn1.Marshal(struct {
		PVNO    int                 `asn1:"explicit,tag:0"`
		MsgType int                 `asn1:"explicit,tag:1"`
		CRealm  string              `asn1:"generalstring,explicit,tag:3"`
		CName   types.PrincipalName `asn1:"explicit,tag:4"`
		Ticket  asn1.RawValue       `asn1:"explicit,tag:5"`
		EncPart types.EncryptedData `asn1:"explicit,tag:6"`
	}{5, msgtype.KRB_AS_REP, realm, q.ReqBody.CName, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Tag: 5, Bytes: raw}, enc})
	assert.Check(k.t, err)
	return asn1tools.AddASNAppTag(b, asnAppTag.ASREP)
}

func (k *fakeKDC) config() *config.Config {
	k.t.Helper()
	c, err := config.NewFromString("[libdefaults]\ndefault_realm = " + realm + "\nudp_preference_limit = 1\nrdns = false\ndns_canonicalize_hostname = false\n" +
		"default_tkt_enctypes = aes128-cts-hmac-sha1-96\ndefault_tgs_enctypes = aes128-cts-hmac-sha1-96\npermitted_enctypes = aes128-cts-hmac-sha1-96\n" +
		"[realms]\n" + realm + " = {\n kdc = " + k.addr + "\n}\n")
	assert.NilError(k.t, err)
	return c
}

func (k *fakeKDC) client(keys *keytab.Keytab) *client.Client {
	cl := client.NewWithKeytab("alice", realm, keys, k.config(), client.DisablePAFXFAST(true))
	k.t.Cleanup(cl.Destroy)
	return cl
}

// What the KDC refuses is a refusal; what it cannot do now is not.
func TestTickets(t *testing.T) {
	for _, x := range []struct {
		name   string
		login  func(*fakeKDC, messages.ASReq) []byte
		ticket func(*fakeKDC) []byte
		keys   *keytab.Keytab
		kind   sasl.Error
		says   string
		logins int
	}{
		{name: "unknown client", login: refuseLogin(errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN), kind: sasl.ErrCredential, says: "(6)", logins: 1},
		{name: "revoked client", login: refuseLogin(errorcode.KDC_ERR_CLIENT_REVOKED), kind: sasl.ErrCredential, says: "(18)", logins: 1},
		{name: "expired password", login: refuseLogin(errorcode.KDC_ERR_KEY_EXPIRED), kind: sasl.ErrCredential, says: "(23)", logins: 1},
		{name: "policy", login: refuseLogin(errorcode.KDC_ERR_POLICY), kind: sasl.ErrCredential, says: "(12)", logins: 1},
		{name: "wrong key", keys: otherKeys(), kind: sasl.ErrCredential, says: "password/keytab incorrect", logins: 1},
		{name: "key of another type", keys: keysOf("secret", etypeID.AES256_CTS_HMAC_SHA1_96), kind: sasl.ErrCredential, says: "keytab", logins: 1},
		{name: "preauth, key of another type", keys: keysOf("secret", etypeID.AES256_CTS_HMAC_SHA1_96), login: wantPreauth, kind: sasl.ErrCredential, says: "key", logins: 1},
		{name: "preauth failed", login: wantPreauth, kind: sasl.ErrCredential, says: "(24)", logins: 2},
		{name: "busy", login: refuseLogin(errorcode.KDC_ERR_SVC_UNAVAILABLE), kind: sasl.ErrUnavailable, says: "(29)", logins: 1},
		{name: "other clock", login: refuseLogin(errorcode.KRB_AP_ERR_SKEW), kind: sasl.ErrUnavailable, says: "(37)", logins: 1},
		{name: "trouble", login: refuseLogin(errorcode.KRB_ERR_GENERIC), kind: sasl.ErrUnavailable, says: "(60)", logins: 1},
		{name: "unknown code", login: refuseLogin(123), kind: sasl.ErrUnavailable, says: "123", logins: 1},
		{name: "hangs up", login: func(*fakeKDC, messages.ASReq) []byte { return nil }, kind: sasl.ErrUnavailable, says: "KDC", logins: 1},
		{name: "nonsense", login: func(*fakeKDC, messages.ASReq) []byte { return []byte("HTTP/1.1 400") }, kind: sasl.ErrUnavailable, says: "AS_REP", logins: 1},
		{name: "unknown server", ticket: refuseTicket(errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN), kind: sasl.ErrCredential, says: "(7)", logins: 1},
		{name: "server of another realm", ticket: refuseTicket(errorcode.KDC_ERR_PATH_NOT_ACCEPTED), kind: sasl.ErrCredential, says: "(28)", logins: 1},
		{name: "busy later", ticket: refuseTicket(errorcode.KDC_ERR_SVC_UNAVAILABLE), kind: sasl.ErrUnavailable, says: "(29)", logins: 1},
		{name: "hangs up later", ticket: func(*fakeKDC) []byte { return nil }, kind: sasl.ErrUnavailable, says: "KDC", logins: 1},
		{name: "nonsense later", ticket: func(*fakeKDC) []byte { return []byte{1} }, kind: sasl.ErrUnavailable, says: "TGS_REP", logins: 1},
		{name: "stale login", ticket: refuseTicket(errorcode.KRB_AP_ERR_TKT_EXPIRED), kind: sasl.ErrCredential, says: "(32)", logins: 2},
		{name: "other keys of the KDC", ticket: refuseTicket(errorcode.KRB_AP_ERR_BAD_INTEGRITY), kind: sasl.ErrCredential, says: "(31)", logins: 2},
		{name: "revoked login, then busy", ticket: func(k *fakeKDC) []byte {
			k.ticket = refuseTicket(errorcode.KDC_ERR_SVC_UNAVAILABLE)
			return refuse(errorcode.KDC_ERR_TGT_REVOKED)
		}, kind: sasl.ErrUnavailable, says: "(29)", logins: 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			k := newFakeKDC(t)
			if x.login != nil {
				k.login = x.login
			}
			k.ticket = x.ticket
			keys := x.keys
			if keys == nil {
				keys = aliceKeys()
			}
			_, _, err := gssapi.Mechanism{Client: k.client(keys)}.Start(t.Context(), "server.zk.test")
			assert.Assert(t, errors.Is(err, x.kind), "%v", err)
			assert.Equal(t, sasl.Refused(err), x.kind == sasl.ErrCredential, "%v", err)
			assert.ErrorContains(t, err, x.says)
			assert.ErrorContains(t, err, `"zookeeper/server.zk.test"`)
			assert.Assert(t, !strings.ContainsAny(err.Error(), "\x1b\n"), "%q", err)
			k.mu.Lock()
			defer k.mu.Unlock()
			assert.Equal(t, k.logins, x.logins)
		})
	}

	// Nobody listens, and what cannot even ask.
	c, err := config.NewFromString("[libdefaults]\ndefault_realm = " + realm + "\nudp_preference_limit = 1\ndns_canonicalize_hostname = false\n[realms]\n" + realm + " = {\n kdc = 127.0.0.1:1\n}\n")
	assert.NilError(t, err)
	_, _, err = gssapi.Mechanism{Client: client.NewWithPassword("alice", realm, "secret", c)}.Start(t.Context(), "server")
	assert.Assert(t, errors.Is(err, sasl.ErrUnavailable) && !sasl.Refused(err), "%v", err)
	for _, cl := range []*client.Client{client.NewWithPassword("", realm, "secret", c), client.NewWithPassword("alice", realm, "", c), destroyed(c)} {
		_, _, err = gssapi.Mechanism{Client: cl}.Start(t.Context(), "server")
		assert.Assert(t, errors.Is(err, sasl.ErrCredential) && sasl.Refused(err), "%v", err)
	}
}

func destroyed(c *config.Config) *client.Client {
	cl := client.NewWithPassword("alice", realm, "secret", c)
	cl.Destroy()
	return cl
}

// An error of whoever names the server is not a refusal by itself, and one of the
// context is not either.
func TestOtherErrors(t *testing.T) {
	k := newFakeKDC(t)
	m := gssapi.Mechanism{Client: k.client(aliceKeys())}
	m.Host = func(context.Context, string) (string, error) { return "", errors.New("no such host") }
	_, _, err := m.Start(t.Context(), "server")
	assert.ErrorContains(t, err, "no such host")
	assert.Assert(t, !sasl.Refused(err))
	m.Host = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = m.Start(ctx, "server")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Assert(t, !sasl.Refused(err))
	assert.Assert(t, !sasl.Refused(nil))
	assert.Assert(t, sasl.Refused(fmt.Errorf("x: %w", sasl.ErrUnproved)))
}

// ccache is a credential cache with alice's login, which ended at end.
func ccache(t *testing.T, end time.Time) *credentials.CCache {
	t.Helper()
	keys := keytab.New()
	assert.NilError(t, keys.AddEntry("krbtgt/"+realm, realm, "kdc", end, 1, aes))
	alice, krbtgt := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "alice"), types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/"+realm)
	tkt, key, err := messages.NewTicket(alice, realm, krbtgt, realm, types.NewKrbFlags(), keys, aes, 1, end.Add(-time.Hour), end.Add(-time.Hour), end, end)
	assert.NilError(t, err)
	raw, err := tkt.Marshal()
	assert.NilError(t, err)
	var b []byte
	number := func(n int) { b = binary.BigEndian.AppendUint32(b, uint32(n)) }
	data := func(s string) { number(len(s)); b = append(b, s...) }
	principal := func(p types.PrincipalName) {
		number(int(p.NameType))
		number(len(p.NameString))
		data(realm)
		for _, s := range p.NameString {
			data(s)
		}
	}
	b = append(b, 5, 4, 0, 0) // version 4, without a header
	principal(alice)
	principal(alice)
	principal(krbtgt)
	b = binary.BigEndian.AppendUint16(b, uint16(key.KeyType))
	data(string(key.KeyValue))
	for _, at := range []time.Time{end.Add(-time.Hour), end.Add(-time.Hour), end, end} {
		number(int(at.Unix()))
	}
	b = append(b, 0)
	for range 3 { // flags, addresses, data of authorization
		number(0)
	}
	data(string(raw))
	data("")
	c := new(credentials.CCache)
	assert.NilError(t, c.Unmarshal(b))
	return c
}

// A credential cache is used as long as its login lasts. Then the application has
// to bring another one, and to wait does not help.
func TestCredentialCache(t *testing.T) {
	k := newFakeKDC(t)
	k.ticket = refuseTicket(errorcode.KDC_ERR_SVC_UNAVAILABLE)
	for end, kind := range map[time.Time]sasl.Error{time.Now().Add(time.Hour): sasl.ErrUnavailable, time.Now().Add(-time.Minute): sasl.ErrCredential} {
		cl, err := client.NewFromCCache(ccache(t, end), k.config())
		assert.NilError(t, err)
		_, _, err = gssapi.Mechanism{Client: cl}.Start(t.Context(), "server.zk.test")
		assert.Assert(t, errors.Is(err, kind), "%v: %v", end, err)
		assert.Equal(t, k.logins, 0)
	}
}
