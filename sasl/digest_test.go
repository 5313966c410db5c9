package sasl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/sasl"
)

// begin starts an exchange of a mechanism without an initial response.
func begin(t testing.TB, m sasl.Mechanism) sasl.Exchange {
	t.Helper()
	x, token, err := m.Start(context.Background(), "server")
	assert.NilError(t, err)
	assert.Assert(t, token != nil && len(token) == 0, "%q", token)
	return x
}

const serverChallenge = `realm="zk-sasl-md5",nonce="OA6MG9tEQGm2hh",charset=utf-8,algorithm=md5-sess`

// The examples of RFC 2831, section 4.
func TestDigestMD5Examples(t *testing.T) {
	for _, test := range []struct{ name, uri, challenge, cnonce, response, proof string }{
		{
			"imap", "imap/elwood.innosoft.com",
			`realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8`, "OA6MHXh6VqTrRk",
			`charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",` +
				`digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth`,
			"rspauth=ea40f60335c427b5527b84dbabcdfffd",
		},
		{
			"acap", "acap/elwood.innosoft.com",
			`realm="elwood.innosoft.com",nonce="OA9BSXrbuRhWay",qop="auth",algorithm=md5-sess,charset=utf-8`, "OA9BSuZWMSpW8m",
			`charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA9BSXrbuRhWay",nc=00000001,cnonce="OA9BSuZWMSpW8m",` +
				`digest-uri="acap/elwood.innosoft.com",response=6084c6db3fede7352c551284490fd0fc,qop=auth`,
			"rspauth=2f0b3d7c3c2e486600ef710726aa2eae",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := sasl.DigestMD5As("chris", "secret", test.uri, test.cnonce)
			for range 2 { // a mechanism serves one exchange after another
				x := begin(t, m)
				response, done, err := x.Next([]byte(test.challenge))
				assert.NilError(t, err)
				assert.Assert(t, !done)
				assert.Equal(t, string(response), test.response)
				response, done, err = x.Next([]byte(test.proof))
				assert.NilError(t, err)
				assert.Assert(t, done && response == nil)
				_, done, err = x.Next([]byte(test.proof))
				assert.Assert(t, errors.Is(err, sasl.ErrMalformed) && !done, "%v", err)
			}
		})
	}
}

// What goes to a ZooKeeper server, and that every exchange has a nonce of its own.
func TestDigestMD5Response(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		x := begin(t, sasl.DigestMD5("bob", "secret"))
		response, _, err := x.Next([]byte(serverChallenge))
		assert.NilError(t, err)
		parts := regexp.MustCompile(`^charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="([0-9a-f]{40})",` +
			`digest-uri="zookeeper/zk-sasl-md5",response=([0-9a-f]{32}),qop=auth$`).FindStringSubmatch(string(response))
		assert.Assert(t, parts != nil, "%s", response)
		assert.Assert(t, !seen[parts[1]] && !seen[parts[2]])
		seen[parts[1]], seen[parts[2]] = true, true
	}
}

// Challenges that have to be taken, and a part of what the response to each has.
func TestDigestMD5Challenges(t *testing.T) {
	for name, test := range map[string]struct{ challenge, has string }{
		"white space":          {" nonce = \"n\" ,\r\n\talgorithm = md5-sess , ", `nonce="n"`},
		"empty elements":       {`,,nonce="n",,algorithm=md5-sess,,`, `nonce="n"`},
		"large letters":        {`NONCE="n",Algorithm=MD5-SESS,CHARSET=UTF-8,QOP="AUTH"`, `nonce="n"`},
		"tokens":               {`nonce=n,realm=r,algorithm=md5-sess,qop=auth`, `realm="r",nonce="n"`},
		"quoted everywhere":    {`nonce="n",algorithm="md5-sess",charset="utf-8"`, `charset=utf-8,`},
		"escapes":              {`nonce="a\"b\\c\d",realm="\"",algorithm=md5-sess`, `realm="\"",nonce="a\"b\\cd"`},
		"comma in quotes":      {`nonce="a,b=c",algorithm=md5-sess`, `nonce="a,b=c"`},
		"several qops":         {`nonce="n",qop="auth-conf, auth ,auth-int,other",algorithm=md5-sess`, `qop=auth`},
		"several realms":       {`realm="one",nonce="n",realm="two",algorithm=md5-sess`, `realm="one"`},
		"no realm":             {`nonce="n",algorithm=md5-sess`, `username="bob",nonce="n"`},
		"empty realm":          {`realm="",nonce="n",algorithm=md5-sess`, `realm=""`},
		"unknown directives":   {`x="1",x="2",nonce="n",algorithm=md5-sess,y=z`, `nonce="n"`},
		"all there is":         {`nonce="n",qop="auth",stale=true,maxbuf=65536,charset=utf-8,algorithm=md5-sess,cipher="3des,rc4"`, `qop=auth`},
		"realm in UTF-8":       {`realm="é日",nonce="n",charset=utf-8,algorithm=md5-sess`, `realm="é日"`},
		"realm in ISO 8859-1":  {"realm=\"\xe9\",nonce=\"n\",algorithm=md5-sess", "realm=\"\xe9\""},
		"the longest":          {`nonce="n",algorithm=md5-sess,x=` + strings.Repeat("y", 2047-31), `nonce="n"`},
		"tab in quotes":        {"nonce=\"a\tb\",algorithm=md5-sess", "nonce=\"a\tb\""},
		"as a real server has": {serverChallenge, `realm="zk-sasl-md5"`},
	} {
		t.Run(name, func(t *testing.T) {
			response, done, err := begin(t, sasl.DigestMD5("bob", "secret")).Next([]byte(test.challenge))
			assert.NilError(t, err)
			assert.Assert(t, !done && strings.Contains(string(response), test.has), "%s", response)
		})
	}
}

// A realm goes into the hash in ISO 8859-1 where it can, however it was written.
func TestDigestMD5Realm(t *testing.T) {
	value := func(challenge string) string {
		t.Helper()
		response, _, err := begin(t, sasl.DigestMD5As("bob", "secret", "zookeeper/zk-sasl-md5", "c")).Next([]byte(challenge))
		assert.NilError(t, err)
		_, v, ok := strings.Cut(string(response), ",response=")
		assert.Assert(t, ok)
		return v
	}
	latin1 := value("realm=\"\xe9\",nonce=n,algorithm=md5-sess")
	assert.Equal(t, value(`realm="é",nonce=n,algorithm=md5-sess,charset=utf-8`), latin1)
	assert.Assert(t, value(`realm="é",nonce=n,algorithm=md5-sess`) != latin1)
	assert.Assert(t, value(`realm="日",nonce=n,algorithm=md5-sess,charset=utf-8`) == value(`realm="日",nonce=n,algorithm=md5-sess`))
}

// Challenges that must be refused, and why.
func TestDigestMD5BadChallenges(t *testing.T) {
	with := func(more string) string { return `nonce="n",algorithm=md5-sess,` + more }
	for name, test := range map[string]struct {
		challenge string
		kind      sasl.Error
	}{
		"none":                     {"", sasl.ErrUnsupported},
		"white space":              {" ", sasl.ErrMalformed},
		"commas":                   {",,,", sasl.ErrMalformed},
		"no nonce":                 {`realm="r",algorithm=md5-sess`, sasl.ErrMalformed},
		"empty nonce":              {`nonce="",algorithm=md5-sess`, sasl.ErrMalformed},
		"two nonces":               {with(`nonce="m"`), sasl.ErrMalformed},
		"no algorithm":             {`nonce="n"`, sasl.ErrMalformed},
		"two algorithms":           {with(`algorithm=md5-sess`), sasl.ErrMalformed},
		"another algorithm":        {`nonce="n",algorithm=md5`, sasl.ErrUnsupported},
		"only a layer":             {with(`qop="auth-int,auth-conf"`), sasl.ErrUnsupported},
		"empty qop":                {with(`qop=""`), sasl.ErrUnsupported},
		"unknown qop":              {with(`qop="authentic"`), sasl.ErrUnsupported},
		"two qops":                 {with(`qop="auth",qop="auth"`), sasl.ErrMalformed},
		"list without quotes":      {with(`qop=auth,auth-int`), sasl.ErrMalformed},
		"another charset":          {with(`charset=utf-16`), sasl.ErrUnsupported},
		"two charsets":             {with(`charset=utf-8,charset=utf-8`), sasl.ErrMalformed},
		"two stales":               {with(`stale=true,stale=true`), sasl.ErrMalformed},
		"two maxbufs":              {with(`maxbuf=1,maxbuf=2`), sasl.ErrMalformed},
		"maxbuf no number":         {with(`maxbuf=many`), sasl.ErrMalformed},
		"negative maxbuf":          {with(`maxbuf=-1`), sasl.ErrMalformed},
		"two ciphers":              {with(`cipher="rc4",CIPHER="rc4"`), sasl.ErrMalformed},
		"no value":                 {with(`x`), sasl.ErrMalformed},
		"empty value":              {with(`x=`), sasl.ErrMalformed},
		"empty value in the list":  {with(`x=,y=z`), sasl.ErrMalformed},
		"no name":                  {with(`="x"`), sasl.ErrMalformed},
		"no comma":                 {with(`x="y"z="a"`), sasl.ErrMalformed},
		"open quotes":              {with(`x="y`), sasl.ErrMalformed},
		"open escape":              {with(`x="y\`), sasl.ErrMalformed},
		"escaped end":              {with(`x="y\"`), sasl.ErrMalformed},
		"escaped control":          {with("x=\"\\\x00\""), sasl.ErrMalformed},
		"escaped beyond ASCII":     {with("x=\"\\\xe9\""), sasl.ErrMalformed},
		"control in quotes":        {with("x=\"a\nb\""), sasl.ErrMalformed},
		"NUL":                      {"\x00" + with(""), sasl.ErrMalformed},
		"name beyond ASCII":        {with("é=1"), sasl.ErrMalformed},
		"token beyond ASCII":       {with("x=é"), sasl.ErrMalformed},
		"realm not UTF-8":          {with("charset=utf-8,realm=\"\xe9\""), sasl.ErrMalformed},
		"too long":                 {with("x=" + strings.Repeat("y", 2048-31)), sasl.ErrMalformed},
		"huge":                     {with(strings.Repeat(`x="y",`, 1<<20)), sasl.ErrMalformed},
		"the proof instead":        {"rspauth=ea40f60335c427b5527b84dbabcdfffd", sasl.ErrMalformed},
		"GSSAPI":                   {"\x60\x82\x01\x00", sasl.ErrMalformed},
		"a response that grows so": {with(`realm="` + strings.Repeat(`\"`, 1000) + `"`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			response, done, err := begin(t, sasl.DigestMD5("bob", "Hush-Hush")).Next([]byte(test.challenge))
			if test.kind == 0 {
				assert.NilError(t, err)
				return
			}
			assert.Assert(t, response == nil && !done)
			assert.Assert(t, errors.Is(err, test.kind), "%v", err)
			assert.Assert(t, len(err.Error()) < 300 && !strings.Contains(err.Error(), "Hush"), "%v", err)
		})
	}
}

// A server that does not know the password cannot pass for one that does.
func TestDigestMD5Proof(t *testing.T) {
	const right = "ea40f60335c427b5527b84dbabcdfffd"
	m := sasl.DigestMD5As("chris", "secret", "imap/elwood.innosoft.com", "OA6MHXh6VqTrRk")
	for proof, kind := range map[string]sasl.Error{
		`rspauth="` + right + `"`:           0,
		`x=y, rspauth=` + right + ` ,`:      0,
		"":                                  sasl.ErrUnproved,
		"x=y":                               sasl.ErrUnproved,
		`rspauth=""`:                        sasl.ErrUnproved,
		"rspauth=" + right[1:]:              sasl.ErrUnproved,
		"rspauth=0" + right[1:]:             sasl.ErrUnproved,
		"rspauth=" + right + "0":            sasl.ErrUnproved,
		"rspauth=" + strings.ToUpper(right): sasl.ErrUnproved,
		"rspauth=d388dad90d4bbd760a152321f2143af7": sasl.ErrUnproved, // what we sent
		"rspauth=" + right + ",rspauth=" + right:   sasl.ErrMalformed,
		"rspauth=":                                 sasl.ErrMalformed,
		"rspauth":                                  sasl.ErrMalformed,
		right:                                      sasl.ErrMalformed,
		"rspauth=" + right + strings.Repeat(" ", 2e3) + strings.Repeat("y", 99):            sasl.ErrMalformed,
		`realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess`: sasl.ErrUnproved, // another challenge
	} {
		x := begin(t, m)
		_, _, err := x.Next([]byte(`realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8`))
		assert.NilError(t, err)
		response, done, err := x.Next([]byte(proof))
		assert.Assert(t, response == nil)
		if kind == 0 {
			assert.Check(t, err == nil && done, "%.50q: %v", proof, err)
			continue
		}
		assert.Check(t, errors.Is(err, kind) && !done, "%.50q: %v", proof, err)
	}
}

func TestDigestMD5Credentials(t *testing.T) {
	for _, c := range []struct{ user, password string }{{"", "p"}, {"a\x00", "p"}, {"a\nb", "p"}, {"\xff", "p"}, {"u", "\xff"}} {
		_, _, err := sasl.DigestMD5(c.user, c.password).Start(context.Background(), "server")
		assert.Assert(t, errors.Is(err, sasl.ErrCredential), "%q: %v", c.user, err)
	}
	for _, c := range []struct {
		user, password, challenge string
		kind                      sasl.Error
	}{
		{"Ω", "p", `nonce="n",algorithm=md5-sess`, sasl.ErrCredential},
		{"u", "Ω", `nonce="n",algorithm=md5-sess`, sasl.ErrCredential},
		{"ä", "ß", `nonce="n",algorithm=md5-sess`, 0},
		{"Ω", "Ω", serverChallenge, 0},
		{"u", "", serverChallenge, 0},
		{`a"b\c`, "\x00", serverChallenge, 0},
		{strings.Repeat("u", 5000), "p", serverChallenge, sasl.ErrCredential},
	} {
		response, _, err := begin(t, sasl.DigestMD5(c.user, c.password)).Next([]byte(c.challenge))
		if c.kind == 0 {
			assert.NilError(t, err, "%q", c.user)
			continue
		}
		assert.Assert(t, errors.Is(err, c.kind) && response == nil, "%q: %v", c.user, err)
	}
}

// Neither a mechanism nor an exchange tells the password, whoever prints it.
func TestDigestMD5IsNotPrinted(t *testing.T) {
	const password = "Hush-Hush"
	m := sasl.DigestMD5("bob", password)
	x := begin(t, m)
	_, _, err := x.Next([]byte(serverChallenge))
	assert.NilError(t, err)
	type hidden struct {
		m sasl.Mechanism // fmt does not call methods of these
		x sasl.Exchange
	}
	for _, v := range []any{m, x, hidden{m, x}, &hidden{m, x}, []any{m, x}, map[string]any{"m": m, "x": x}, struct{ M sasl.Mechanism }{m}} {
		var text strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%20v"} {
			fmt.Fprintf(&text, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "v", v)
		j, err := json.Marshal(v)
		assert.NilError(t, err)
		text.Write(j)
		for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password)} {
			assert.Assert(t, !strings.Contains(text.String(), form), text.String())
		}
	}
	assert.Equal(t, fmt.Sprintf("%v %#v", m, x), `DIGEST-MD5 "bob" DIGEST-MD5 "bob"`)
}

func TestErrors(t *testing.T) {
	seen := map[string]bool{}
	for e := sasl.ErrMalformed; e <= sasl.ErrUnavailable+1; e++ {
		assert.Assert(t, e.Error() != "" && !seen[e.Error()], "%d", int(e))
		seen[e.Error()] = true
	}
}

// Whatever a server says, there is no panic, no acceptance without proof, and a
// response that is within its bounds.
func FuzzDigestMD5(f *testing.F) {
	f.Add([]byte(serverChallenge), []byte("rspauth=ea40f60335c427b5527b84dbabcdfffd"))
	f.Add([]byte(`realm="a\"b",nonce="n\\",qop="auth,auth-int",maxbuf=9,algorithm=md5-sess,x=y`), []byte(`rspauth="",`))
	f.Add([]byte("realm=\"\xe9\",nonce=n,algorithm=md5-sess, ,\r\n"), []byte("="))
	f.Fuzz(func(t *testing.T, challenge, proof []byte) {
		x := begin(t, sasl.DigestMD5("bob", "secret"))
		response, done, err := x.Next(challenge)
		if done || (err == nil) != (response != nil) || len(response) >= 4096 {
			t.Fatalf("%q, %v, %v", response, done, err)
		}
		if err == nil {
			_, done, err = x.Next(proof)
			if done {
				t.Fatal("proved")
			}
		}
		var kind sasl.Error
		if !errors.As(err, &kind) || len(err.Error()) > 300 {
			t.Fatalf("%v", err)
		}
	})
}
