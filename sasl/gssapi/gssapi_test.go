package gssapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/crypto"
	krbgss "github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"golang.org/x/net/dns/dnsmessage"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/sasl/gssapi"
	"github.com/seed-9f8420c6/zk/zktest"
)

const realm = "ZK.TEST"

// acceptor is a server's half of an exchange, made of gokrb5's own parts.
type acceptor struct {
	t    testing.TB
	x    sasl.Exchange
	req  messages.APReq
	sub  types.EncryptionKey // that it chooses; none: the client's
	base types.EncryptionKey
}

var oid = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02}

// framed puts the head of a GSS-API token before its body.
func framed(id string, body []byte) []byte {
	return asn1tools.AddASNAppTag(bytes.Join([][]byte{oid, []byte(id), body}, nil), 0)
}

// accept begins an exchange whose keys are of one encryption type.
func accept(t testing.TB, etype int32) *acceptor {
	t.Helper()
	keys := keytabs[etype]()
	alice := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "alice")
	server := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "zookeeper/host")
	now := time.Now().UTC()
	tkt, key, err := messages.NewTicket(alice, realm, server, realm, types.NewKrbFlags(), keys, etype, 1, now, now, now.Add(time.Hour), now.Add(time.Hour))
	assert.NilError(t, err)
	x, token, err := gssapi.Begin(tkt, key, realm, alice)
	assert.NilError(t, err)
	a := &acceptor{t: t, x: x}

	_, body, ok := bytes.Cut(token, append(bytes.Clone(oid), 1, 0))
	assert.Assert(t, ok)
	assert.DeepEqual(t, framed("\x01\x00", body), token)
	assert.NilError(t, a.req.Unmarshal(body))
	assert.NilError(t, a.req.Ticket.DecryptEncPart(keys, &server))
	a.base = a.req.Ticket.DecryptedEncPart.Key
	assert.NilError(t, a.req.DecryptAuthenticator(a.base))
	return a
}

// reply is the token that proves the server, of this content.
func (a *acceptor) reply(part messages.EncAPRepPart) []byte {
	a.t.Helper()
	plain, err := asn1.Marshal(part)
	assert.NilError(a.t, err)
	return a.replyWith(asn1tools.AddASNAppTag(plain, asnAppTag.EncAPRepPart), a.base)
}

func (a *acceptor) replyWith(plain []byte, key types.EncryptionKey) []byte {
	a.t.Helper()
	enc, err := crypto.GetEncryptedData(plain, key, keyusage.AP_REP_ENCPART, 1)
	assert.NilError(a.t, err)
	return a.replyOf(enc)
}

func (a *acceptor) replyOf(enc types.EncryptedData) []byte {
	a.t.Helper()
	body, err := asn1.Marshal(messages.APRep{PVNO: 5, MsgType: 15, EncPart: enc})
	assert.NilError(a.t, err)
	return framed("\x02\x00", asn1tools.AddASNAppTag(body, asnAppTag.APREP))
}

// right is the content of the right reply.
func (a *acceptor) right() messages.EncAPRepPart {
	auth := a.req.Authenticator
	return messages.EncAPRepPart{CTime: auth.CTime, Cusec: auth.Cusec, Subkey: a.sub, SequenceNumber: 7}
}

// key is what both sides go on with.
func (a *acceptor) key() types.EncryptionKey {
	if a.sub.KeyValue != nil {
		return a.sub
	}
	return a.req.Authenticator.SubKey
}

// wrap is the server's wrap token.
func (a *acceptor) wrap(data []byte) krbgss.WrapToken {
	a.t.Helper()
	et, err := crypto.GetEtype(a.key().KeyType)
	assert.NilError(a.t, err)
	w := krbgss.WrapToken{Flags: 1, EC: uint16(et.GetHMACBitLength() / 8), SndSeqNum: 7, Payload: data}
	if a.sub.KeyValue != nil {
		w.Flags |= 4
	}
	return w
}

// token signs a wrap token and turns it to the right.
func (a *acceptor) token(w krbgss.WrapToken, turn int) []byte {
	a.t.Helper()
	if w.CheckSum == nil {
		assert.NilError(a.t, w.SetCheckSum(a.key(), keyusage.GSSAPI_ACCEPTOR_SEAL))
	}
	b, err := w.Marshal()
	assert.NilError(a.t, err)
	binary.BigEndian.PutUint16(b[6:], uint16(turn))
	n := len(b) - 16 - turn%(len(b)-16)
	return append(bytes.Clone(b[:16]), append(bytes.Clone(b[16+n:]), b[16:16+n]...)...)
}

var offer = []byte{7, 0, 16, 0} // all layers

// etypes are those of tickets here; gokrb5 cannot make one of the type 20, whose keys it takes for shorter.
var etypes = []int32{etypeID.AES128_CTS_HMAC_SHA1_96, etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA256_128}

// keytabs are of the server. It takes long to make a key of a password.
var keytabs = map[int32]func() *keytab.Keytab{}

func init() {
	for _, etype := range etypes {
		keytabs[etype] = sync.OnceValue(func() *keytab.Keytab { return newKeytab(etype) })
	}
}

func newKeytab(etype int32) *keytab.Keytab {
	keys := keytab.New()
	if err := keys.AddEntry("zookeeper/host", realm, "password", time.Now(), 1, etype); err != nil {
		panic(err)
	}
	return keys
}

func newKey(t testing.TB, etype int32) types.EncryptionKey {
	t.Helper()
	size := map[int32]int{etypeID.AES128_CTS_HMAC_SHA1_96: 16, etypeID.AES128_CTS_HMAC_SHA256_128: 16, etypeID.RC4_HMAC: 16}[etype]
	if size == 0 {
		size = 32
	}
	key := types.EncryptionKey{KeyType: etype, KeyValue: make([]byte, size)}
	rand.Read(key.KeyValue)
	return key
}

// An exchange as it should be, with every kind of key, whoever chooses it.
func TestExchange(t *testing.T) {
	for _, etype := range etypes {
		for _, chosen := range []int32{0, etypes[0], etypes[1], etypes[2], etypeID.AES256_CTS_HMAC_SHA384_192} {
			for _, turn := range []int{0, 1, 12, 28, 1000} {
				a := accept(t, etype)
				auth := a.req.Authenticator
				assert.Assert(t, types.IsFlagSet(&a.req.APOptions, flags.APOptionMutualRequired))
				assert.Equal(t, auth.Cksum.CksumType, int32(0x8003))
				assert.DeepEqual(t, auth.Cksum.Checksum, append(append([]byte{16, 0, 0, 0}, make([]byte, 16)...), 0x22, 0, 0, 0))
				assert.Equal(t, auth.CRealm, realm)
				assert.Equal(t, auth.CName.PrincipalNameString(), "alice")
				assert.Assert(t, !bytes.Equal(auth.SubKey.KeyValue, a.base.KeyValue) && auth.SubKey.KeyType == etype)
				if chosen != 0 {
					a.sub = newKey(t, chosen)
				}

				response, done, err := a.x.Next(a.reply(a.right()))
				assert.NilError(t, err)
				assert.Assert(t, !done && response != nil && len(response) == 0)
				response, done, err = a.x.Next(a.token(a.wrap(offer), turn))
				assert.NilError(t, err)
				assert.Assert(t, !done)
				var w krbgss.WrapToken
				assert.NilError(t, w.Unmarshal(response, false))
				ok, err := w.Verify(a.key(), keyusage.GSSAPI_INITIATOR_SEAL)
				assert.Assert(t, ok, "%v", err)
				assert.DeepEqual(t, w.Payload, []byte{1, 0, 0, 0})
				assert.Equal(t, int64(w.SndSeqNum), auth.SeqNumber)
				assert.Equal(t, w.Flags&4 != 0, chosen != 0)
				response, done, err = a.x.Next(nil)
				assert.NilError(t, err)
				assert.Assert(t, done && response == nil)
				_, done, err = a.x.Next(nil)
				assert.Assert(t, errors.Is(err, sasl.ErrMalformed) && !done, "%v", err)
			}
		}
	}
}

// Replies of a server that cannot prove itself, or talks nonsense.
func TestBadReplies(t *testing.T) {
	const etype = etypeID.AES256_CTS_HMAC_SHA1_96
	for name, c := range map[string]struct {
		token func(a *acceptor) []byte
		kind  sasl.Error
	}{
		"none":         {func(a *acceptor) []byte { return nil }, sasl.ErrUnsupported},
		"empty":        {func(a *acceptor) []byte { return []byte{} }, sasl.ErrUnsupported},
		"one byte":     {func(a *acceptor) []byte { return []byte{0x60} }, sasl.ErrMalformed},
		"DIGEST-MD5":   {func(a *acceptor) []byte { return []byte(`realm="zk-sasl-md5",nonce="n"`) }, sasl.ErrMalformed},
		"huge":         {func(a *acceptor) []byte { return make([]byte, 1<<20) }, sasl.ErrMalformed},
		"other length": {func(a *acceptor) []byte { return append(a.reply(a.right()), 0) }, sasl.ErrMalformed},
		"cut short":    {func(a *acceptor) []byte { b := a.reply(a.right()); return b[:len(b)-1] }, sasl.ErrMalformed},
		"another mechanism": {func(a *acceptor) []byte {
			return bytes.Replace(a.reply(a.right()), oid, append(oid[:10:10], 3), 1)
		}, sasl.ErrMalformed},
		"endless length":   {func(a *acceptor) []byte { return append([]byte{0x60, 0xff}, bytes.Repeat([]byte{0xff}, 200)...) }, sasl.ErrMalformed},
		"no id":            {func(a *acceptor) []byte { return asn1tools.AddASNAppTag(oid, 0) }, sasl.ErrMalformed},
		"no body":          {func(a *acceptor) []byte { return framed("\x02\x00", nil) }, sasl.ErrMalformed},
		"our own request":  {func(a *acceptor) []byte { b, _ := a.req.Marshal(); return framed("\x01\x00", b) }, sasl.ErrMalformed},
		"a request inside": {func(a *acceptor) []byte { b, _ := a.req.Marshal(); return framed("\x02\x00", b) }, sasl.ErrMalformed},
		"an error": {func(a *acceptor) []byte {
			e := messages.NewKRBError(a.req.Ticket.SName, realm, errorcode.KRB_AP_ERR_SKEW, "")
			b, err := e.Marshal()
			assert.NilError(a.t, err)
			return framed("\x03\x00", b)
		}, sasl.ErrUnproved},
		"a broken error":    {func(a *acceptor) []byte { return framed("\x03\x00", []byte{0x7e, 0x01}) }, sasl.ErrMalformed},
		"other time":        {func(a *acceptor) []byte { p := a.right(); p.CTime = p.CTime.Add(time.Second); return a.reply(p) }, sasl.ErrUnproved},
		"other microsecond": {func(a *acceptor) []byte { p := a.right(); p.Cusec++; return a.reply(p) }, sasl.ErrUnproved},
		"other key": {func(a *acceptor) []byte {
			a.base = newKey(a.t, etype)
			return a.reply(a.right())
		}, sasl.ErrUnproved},
		"the subkey":        {func(a *acceptor) []byte { a.base = a.req.Authenticator.SubKey; return a.reply(a.right()) }, sasl.ErrUnproved},
		"other type":        {func(a *acceptor) []byte { a.base = newKey(a.t, etypes[0]); return a.reply(a.right()) }, sasl.ErrMalformed},
		"nothing encrypted": {func(a *acceptor) []byte { return a.replyOf(types.EncryptedData{EType: etype}) }, sasl.ErrMalformed},
		"little encrypted": {func(a *acceptor) []byte {
			return a.replyOf(types.EncryptedData{EType: etype, Cipher: make([]byte, 27)})
		}, sasl.ErrMalformed},
		"zeros encrypted": {func(a *acceptor) []byte {
			return a.replyOf(types.EncryptedData{EType: etype, Cipher: make([]byte, 28)})
		}, sasl.ErrUnproved},
		"nonsense encrypted": {func(a *acceptor) []byte { return a.replyWith([]byte("nonsense"), a.base) }, sasl.ErrMalformed},
		"empty encrypted":    {func(a *acceptor) []byte { return a.replyWith(nil, a.base) }, sasl.ErrMalformed},
		"a weak subkey": {func(a *acceptor) []byte {
			a.sub = newKey(a.t, etypeID.RC4_HMAC)
			return a.reply(a.right())
		}, sasl.ErrUnsupported},
		"a short subkey": {func(a *acceptor) []byte {
			a.sub = types.EncryptionKey{KeyType: etype, KeyValue: []byte("short")}
			return a.reply(a.right())
		}, sasl.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			a := accept(t, etype)
			response, done, err := a.x.Next(c.token(a))
			assert.Assert(t, len(response) == 0 && !done)
			assert.Assert(t, errors.Is(err, c.kind), "%v", err)
			assert.Assert(t, len(err.Error()) < 300, "%v", err)
		})
	}
}

// Offers of a server that proved itself.
func TestBadOffers(t *testing.T) {
	for name, c := range map[string]struct {
		token func(a *acceptor) []byte
		kind  sasl.Error
	}{
		"none":             {func(a *acceptor) []byte { return nil }, sasl.ErrUnproved},
		"short":            {func(a *acceptor) []byte { return a.token(a.wrap(offer), 0)[:27] }, sasl.ErrMalformed},
		"one byte less":    {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); return b[:len(b)-1] }, sasl.ErrUnproved},
		"one byte more":    {func(a *acceptor) []byte { return append(a.token(a.wrap(offer), 0), 0) }, sasl.ErrUnproved},
		"in the clear":     {func(a *acceptor) []byte { return offer }, sasl.ErrMalformed},
		"three bytes":      {func(a *acceptor) []byte { return a.token(a.wrap(offer[:3]), 0) }, sasl.ErrMalformed},
		"five bytes":       {func(a *acceptor) []byte { return a.token(a.wrap(append(offer[:4:4], 0)), 0) }, sasl.ErrMalformed},
		"nothing":          {func(a *acceptor) []byte { return a.token(a.wrap([]byte{}), 0) }, sasl.ErrMalformed},
		"layers only":      {func(a *acceptor) []byte { return a.token(a.wrap([]byte{6, 0, 16, 0}), 0) }, sasl.ErrUnsupported},
		"no layers":        {func(a *acceptor) []byte { return a.token(a.wrap([]byte{0, 0, 0, 0}), 0) }, sasl.ErrUnsupported},
		"sealed":           {func(a *acceptor) []byte { w := a.wrap(offer); w.Flags |= 2; return a.token(w, 0) }, sasl.ErrUnsupported},
		"by the client":    {func(a *acceptor) []byte { w := a.wrap(offer); w.Flags = 0; return a.token(w, 0) }, sasl.ErrMalformed},
		"no chosen key":    {func(a *acceptor) []byte { w := a.wrap(offer); w.Flags |= 4; return a.token(w, 0) }, sasl.ErrMalformed},
		"unknown flag":     {func(a *acceptor) []byte { w := a.wrap(offer); w.Flags |= 8; return a.token(w, 0) }, sasl.ErrMalformed},
		"the ticket's key": {func(a *acceptor) []byte { a.req.Authenticator.SubKey = a.base; return a.token(a.wrap(offer), 0) }, sasl.ErrUnproved},
		"a client's checksum": {func(a *acceptor) []byte {
			w := a.wrap(offer)
			assert.NilError(a.t, w.SetCheckSum(a.key(), keyusage.GSSAPI_INITIATOR_SEAL))
			return a.token(w, 0)
		}, sasl.ErrUnproved},
		"other number":    {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); b[15]++; return b }, sasl.ErrUnproved},
		"other data":      {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); b[17]++; return b }, sasl.ErrUnproved},
		"other checksum":  {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); b[len(b)-1]++; return b }, sasl.ErrUnproved},
		"no checksum":     {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); b[5] = 0; return b }, sasl.ErrMalformed},
		"huge checksum":   {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); b[4] = 0xff; return b }, sasl.ErrMalformed},
		"turned too far":  {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 3); b[7]++; return b }, sasl.ErrUnproved},
		"another token":   {func(a *acceptor) []byte { b := a.token(a.wrap(offer), 0); b[0] = 4; return b }, sasl.ErrMalformed},
		"the reply again": {func(a *acceptor) []byte { return a.reply(a.right()) }, sasl.ErrMalformed},
		"huge":            {func(a *acceptor) []byte { return a.token(a.wrap(make([]byte, 1<<17)), 0) }, sasl.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			a := accept(t, etypes[1])
			_, _, err := a.x.Next(a.reply(a.right()))
			assert.NilError(t, err)
			response, done, err := a.x.Next(c.token(a))
			assert.Assert(t, response == nil && !done)
			assert.Assert(t, errors.Is(err, c.kind), "%v", err)
			assert.Assert(t, len(err.Error()) < 300, "%v", err)
		})
	}
	a := accept(t, etypes[1])
	for _, token := range [][]byte{a.reply(a.right()), a.token(a.wrap(offer), 0)} {
		_, _, err := a.x.Next(token)
		assert.NilError(t, err)
	}
	_, done, err := a.x.Next([]byte("more")) // where nothing is due
	assert.Assert(t, errors.Is(err, sasl.ErrMalformed) && !done, "%v", err)
}

// A ticket whose key is of a weak type is not used.
func TestWeakTicket(t *testing.T) {
	keys := newKeytab(etypeID.RC4_HMAC)
	alice := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "alice")
	server := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "zookeeper/host")
	now := time.Now()
	tkt, key, err := messages.NewTicket(alice, realm, server, realm, types.NewKrbFlags(), keys, etypeID.RC4_HMAC, 1, now, now, now, now)
	assert.NilError(t, err)
	_, _, err = gssapi.Begin(tkt, key, realm, alice)
	assert.Assert(t, errors.Is(err, sasl.ErrUnsupported), "%v", err)
}

// mute is a KDC that takes connections and says nothing.
func mute(t *testing.T) *config.Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	t.Cleanup(func() { l.Close() })
	c, err := config.NewFromString("[libdefaults]\ndefault_realm = " + realm + "\nudp_preference_limit = 1\nrdns = false\ndns_canonicalize_hostname = false\n" +
		"[realms]\n" + realm + " = {\n kdc = " + l.Addr().String() + "\n}\n")
	assert.NilError(t, err)
	return c
}

// A Dial that waits for a KDC ends with its context, and is not a refusal.
func TestMuteKDC(t *testing.T) {
	server := zktest.NewServer(t)
	conf := zk.Config{
		Addrs: server.Addrs(), Timeout: time.Second,
		SASL: gssapi.Mechanism{Client: client.NewWithPassword("alice", realm, "secret", mute(t))},
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := zk.Dial(ctx, conf)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Assert(t, !errors.Is(err, zk.ErrAuth), "%v", err)
	_, err = zk.Dial(t.Context(), conf) // by its own limit, the Timeout
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.Assert(t, !errors.Is(err, zk.ErrAuth), "%v", err)
	_, _, err = conf.SASL.Start(ctx, "host")
	assert.ErrorIs(t, err, context.Canceled)
}

// The password is nowhere to be read.
func TestSecrets(t *testing.T) {
	m := gssapi.Mechanism{Client: client.NewWithPassword("alice", realm, "Hush-Hush", config.New())}
	var text strings.Builder
	for _, v := range []any{m, &m, zk.Config{SASL: m}, []any{m}, struct{ m sasl.Mechanism }{m}, struct{ M sasl.Mechanism }{&m}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&text, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
	}
	for _, form := range []string{"Hush-Hush", fmt.Sprintf("%x", "Hush-Hush"), fmt.Sprintf("%X", "Hush-Hush")} {
		assert.Assert(t, !strings.Contains(text.String(), form), text.String())
	}
	assert.Equal(t, fmt.Sprintf("%v %+v", m, &m), "GSSAPI alice@ZK.TEST GSSAPI alice@ZK.TEST")
	assert.Equal(t, fmt.Sprint(gssapi.Mechanism{}), "GSSAPI without a client")
}

// TestMain lets the tests have a DNS of their own: zk.test is another name of
// node1.zk.test, whose address belongs to canonical.zk.test.
func TestMain(m *testing.M) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go resolve(pc)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
	os.Exit(m.Run())
}

// resolve answers for DNS.
func resolve(pc net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil {
			continue
		}
		m.Response, m.Additionals = true, nil
		q := m.Questions[0]
		add := func(name string, body dnsmessage.ResourceBody) {
			head := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 1}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: body})
		}
		a := &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}
		switch name := strings.ToLower(q.Name.String()); {
		case name == "zk.test.":
			add(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("Node1.zk.test.")})
			if q.Type == dnsmessage.TypeA {
				add("Node1.zk.test.", a)
			}
		case name == "node1.zk.test.":
			if q.Type == dnsmessage.TypeA {
				add(name, a)
			}
		case name == "three.zk.test.": // has three addresses, each with a name of its own
			for i := range 3 {
				if q.Type == dnsmessage.TypeA {
					add(name, &dnsmessage.AResource{A: [4]byte{127, 0, 0, byte(2 + i)}})
				}
			}
		case strings.HasSuffix(name, ".0.0.127.in-addr.arpa."):
			add(name, &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("zk" + string(name[0]-1) + ".zk.test.")})
		case name == "1.2.0.192.in-addr.arpa.":
			add(name, &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("Canonical.zk.test.")})
		default:
			m.RCode = dnsmessage.RCodeNameError
		}
		if b, err := m.Pack(); err == nil {
			pc.WriteTo(b, from)
		}
	}
}

// The server's principal is of its canonical name, as krb5.conf wants it.
func TestPrincipal(t *testing.T) {
	for _, test := range []struct {
		canonicalize, rdns bool
		host, want         string
	}{
		{true, true, "zk.test", "zookeeper/canonical.zk.test"},
		{true, true, "node1.zk.test", "zookeeper/canonical.zk.test"},
		{true, true, "192.0.2.1", "zookeeper/canonical.zk.test"},
		{true, true, "192.0.2.2", "zookeeper/192.0.2.2"},
		{true, true, "unknown.test", "zookeeper/unknown.test"},
		{true, false, "zk.test", "zookeeper/node1.zk.test"},
		{true, false, "Unknown.test", "zookeeper/unknown.test"},
		{true, false, "192.0.2.1", "zookeeper/192.0.2.1"},
		{false, true, "zk.test", "zookeeper/zk.test"},
		{false, true, "192.0.2.1", "zookeeper/192.0.2.1"},
	} {
		krb5 := config.New()
		krb5.LibDefaults.DNSCanonicalizeHostname, krb5.LibDefaults.RDNS = test.canonicalize, test.rdns
		m := gssapi.Mechanism{Client: client.NewWithPassword("alice", realm, "secret", krb5)}
		got, err := m.Principal(t.Context(), test.host)
		assert.NilError(t, err)
		assert.Check(t, got == test.want, "%+v: %s", test, got)
	}

	m := gssapi.Mechanism{Client: client.NewWithPassword("alice", realm, "secret", config.New()), Service: "zk"}
	m.Host = func(_ context.Context, host string) (string, error) { return "as." + host, nil }
	got, err := m.Principal(t.Context(), "zk.test")
	assert.NilError(t, err)
	assert.Equal(t, got, "zk/as.zk.test")
	broken := errors.New("no such host")
	m.Host = func(context.Context, string) (string, error) { return "", broken }
	_, _, err = m.Start(t.Context(), "zk.test")
	assert.ErrorIs(t, err, broken)
}

// One name has several addresses, and each server a principal of its own.
func TestPrincipalOfAddress(t *testing.T) {
	for _, test := range []struct {
		canonicalize, rdns bool
		host, ip, want     string
	}{
		{true, true, "three.zk.test", "127.0.0.2", "zookeeper/zk1.zk.test"},
		{true, true, "three.zk.test", "127.0.0.3", "zookeeper/zk2.zk.test"},
		{true, true, "three.zk.test.", "127.0.0.4", "zookeeper/zk3.zk.test"},
		{true, true, "three.zk.test", "::ffff:127.0.0.4", "zookeeper/zk3.zk.test"},
		{true, true, "127.0.0.3", "127.0.0.3", "zookeeper/zk2.zk.test"},
		{true, true, "127.0.0.3", "", "zookeeper/zk2.zk.test"},
		{true, true, "three.zk.test", "192.0.2.9", "zookeeper/three.zk.test"}, // an address without a name
		{true, true, "three.zk.test", "fe80::1%lo", "zookeeper/three.zk.test"},
		{true, false, "three.zk.test", "127.0.0.3", "zookeeper/three.zk.test"},
		{false, true, "three.zk.test", "127.0.0.3", "zookeeper/three.zk.test"},
		{false, false, "three.zk.test.", "127.0.0.3", "zookeeper/three.zk.test"},
	} {
		krb5 := config.New()
		krb5.LibDefaults.DNSCanonicalizeHostname, krb5.LibDefaults.RDNS = test.canonicalize, test.rdns
		m := gssapi.Mechanism{Client: client.NewWithPassword("alice", realm, "secret", krb5)}
		ctx := t.Context()
		if test.ip != "" {
			ctx = sasl.WithServer(ctx, test.host, netip.MustParseAddr(test.ip))
		}
		for _, host := range []string{test.host, test.ip} { // of a name with several, the address is given
			if host == test.ip && test.ip == "" {
				continue
			}
			got, err := m.Principal(ctx, host)
			assert.NilError(t, err)
			assert.Check(t, got == test.want, "%+v: %s", test, got)
		}
		m.Host = func(ctx context.Context, host string) (string, error) {
			return host + "/" + sasl.Addr(ctx).String(), nil
		}
		got, err := m.Principal(ctx, test.host)
		assert.NilError(t, err)
		assert.Equal(t, got, "zookeeper/"+test.host+"/"+sasl.Addr(ctx).String())
		assert.Equal(t, sasl.Addr(ctx).IsValid(), test.ip != "")
	}
}

// Whatever a server says, there is no panic, and no end before its proof.
func FuzzExchange(f *testing.F) {
	a := accept(f, etypes[1])
	f.Add(uint8(0), a.reply(a.right()), []byte{})
	f.Add(uint8(1), []byte{0x7b, 0x00}, offer)
	f.Add(uint8(2), a.token(a.wrap(offer), 3), offer)
	e := messages.NewKRBError(a.req.Ticket.SName, realm, errorcode.KRB_AP_ERR_SKEW, "x")
	b, err := e.Marshal()
	assert.NilError(f, err)
	f.Add(uint8(0), framed("\x03\x00", b), []byte{})
	f.Fuzz(func(t *testing.T, how uint8, first, second []byte) {
		a := accept(t, etypes[how%3])
		proved := false
		switch how >> 2 & 3 {
		case 1: // of one who knows the key
			first = a.replyWith(first, a.base)
		case 2:
			first, proved = a.reply(a.right()), true
		case 3:
			first, proved = a.reply(a.right()), true
			second = a.token(a.wrap(append([]byte{}, second...)), int(how>>4))
		}
		_, done, err := a.x.Next(first)
		if done || proved && err != nil {
			t.Fatal(done, err)
		}
		if err == nil {
			_, done, err = a.x.Next(second)
		}
		if done {
			t.Fatal("done")
		}
		if kind := sasl.Error(0); err != nil && !errors.As(err, &kind) {
			t.Fatalf("%v", err)
		}
	})
}
