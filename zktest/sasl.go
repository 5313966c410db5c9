package zktest

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// Names of every server for SASL DIGEST-MD5.
const (
	saslRealm = "zk-sasl-md5"
	saslURI   = "zookeeper/zk-sasl-md5"
)

// firstCount is the nonce count of a first response. That it is the one in the
// response does not matter to the real server.
const firstCount = "00000001"

// maxSASLResponse is the longest response that is looked at (RFC 2831).
const maxSASLResponse = 4096

// saslExchange is a connection's exchange of DIGEST-MD5: a challenge, the
// client's response, and the proof that we know the password too.
type saslExchange struct {
	nonce string
	done  bool
}

// sasl executes a step of an exchange, outside the pipeline (processSasl).
func (c *conn) sasl(r *data.Request) {
	e := c.ens
	switch {
	case r.Bad || r.Token == nil:
		c.drop("malformed sasl packet")
		return
	case e.opts.SASL == nil: // no token, and no error
		c.answerSASL(r, nil)
		return
	case c.exchange == nil: // whatever the first token is
		var b [40]byte
		rand.Read(b[:])
		c.exchange = &saslExchange{nonce: base64.StdEncoding.EncodeToString(b[:])}
		c.answerSASL(r, []byte(`realm="`+saslRealm+`",nonce="`+c.exchange.nonce+`",charset=utf-8,algorithm=md5-sess`))
		return
	case c.exchange.done:
		c.refuseSASL(r, "SASL after its end")
		return
	}
	user, proof, why := c.exchange.check(r.Token, e.opts.SASL)
	if why != "" {
		c.refuseSASL(r, "SASL: "+why)
		return
	}
	c.exchange.done = true
	c.addIdentity(data.Identity{Scheme: "sasl", ID: user})
	c.answerSASL(r, proof)
}

func (c *conn) answerSASL(r *data.Request, token []byte) {
	at := c.begin(r.Xid, 0, 0)
	c.out = wire.SASLResponse{Token: token}.Append(c.out)
	c.replied(at, r, 0, 0)
}

// refuseSASL ends the connection; up to 3.4 without a word.
func (c *conn) refuseSASL(r *data.Request, why string) {
	if c.ens.opts.Version <= V34 {
		c.end(why)
		return
	}
	code := wire.ErrAuthFailed
	if c.ens.requiresSASL() {
		code = wire.ErrSessionClosedRequireSASL
	}
	at := c.begin(r.Xid, 0, code)
	c.out = wire.SASLResponse{}.Append(c.out)
	c.replied(at, r, 0, code)
	c.end(why)
}

func (e *Ensemble) requiresSASL() bool { return e.opts.RequireSASL && e.opts.Version >= V35 }

// lacksSASL says whether the client must prove itself before it may go on, be
// it with a ping (enforceAuthentication).
func (c *conn) lacksSASL() bool {
	return c.ens.requiresSASL() && (c.exchange == nil || !c.exchange.done)
}

// refuseUnproved ends a connection that did not go through SASL first.
func (c *conn) refuseUnproved(r *data.Request) {
	c.answer(r, 0, wire.ErrSessionClosedRequireSASL)
	c.end("SASL is required")
}

// check judges a response. It returns the user and our own proof, or what is wrong.
func (x *saslExchange) check(response []byte, users map[string]string) (user string, proof []byte, why string) {
	if len(response) > maxSASLResponse {
		return "", nil, "response too long"
	}
	d, ok := saslDirectives(response)
	if !ok {
		return "", nil, "malformed response"
	}
	charset, hasCharset := d["charset"]
	realm := d["realm"]
	_, hasUser := d["username"]
	qop, hasQOP := d["qop"]
	_, hasCnonce := d["cnonce"]
	password, known := users[d["username"]]
	switch {
	case hasCharset && charset != "utf-8":
		return "", nil, "charset " + charset
	case !hasUser || !hasCnonce:
		return "", nil, "no username or cnonce"
	case realm != saslRealm:
		return "", nil, "realm " + realm
	case d["nonce"] != x.nonce:
		return "", nil, "another nonce"
	case hasQOP && qop != "auth":
		return "", nil, "qop " + qop
	case !strings.EqualFold(d["digest-uri"], saslURI):
		return "", nil, "digest-uri " + d["digest-uri"]
	case !known:
		return "", nil, "unknown user " + d["username"]
	}
	secret := md5.Sum(saslJoin(latin1(d["username"]), latin1(realm), latin1(password)))
	a1 := saslJoin(string(secret[:]), d["nonce"], d["cnonce"])
	if authzid, ok := d["authzid"]; ok {
		a1 = saslJoin(string(a1), authzid)
	}
	value := func(method string) string {
		return hexMD5(saslJoin(hexMD5(a1), d["nonce"], firstCount, d["cnonce"], "auth", hexMD5(saslJoin(method, d["digest-uri"]))))
	}
	if d["response"] != value("AUTHENTICATE") {
		return "", nil, "wrong password of " + d["username"]
	}
	return d["username"], []byte("rspauth=" + value("")), ""
}

func saslJoin(parts ...string) []byte { return []byte(strings.Join(parts, ":")) }

func hexMD5(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// latin1 is a string as it goes into the hash: in ISO 8859-1 if that has all of
// its characters, else in UTF-8.
func latin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return s
		}
		b = append(b, byte(r))
	}
	return string(b)
}

// saslDirectives reads a list of name=value and name="value", each name once.
func saslDirectives(b []byte) (map[string]string, bool) {
	const space = " \t\r\n"
	d := make(map[string]string)
	if !utf8.Valid(b) {
		return nil, false
	}
	for {
		if b = bytes.TrimLeft(b, space+","); len(b) == 0 {
			return d, true
		}
		name, rest, ok := bytes.Cut(b, []byte("="))
		key := strings.ToLower(string(bytes.TrimRight(name, space)))
		if _, twice := d[key]; !ok || twice || key == "" || strings.ContainsAny(key, `,"`+space) {
			return nil, false
		}
		rest = bytes.TrimLeft(rest, space)
		var value []byte
		if len(rest) > 0 && rest[0] == '"' {
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
				}
				value = append(value, rest[i])
			}
			if i == len(rest) {
				return nil, false
			}
			rest = bytes.TrimLeft(rest[i+1:], space)
		} else {
			n := bytes.IndexAny(rest, ","+space)
			if n < 0 {
				n = len(rest)
			}
			value, rest = rest[:n], bytes.TrimLeft(rest[n:], space)
		}
		if len(rest) > 0 && rest[0] != ',' {
			return nil, false
		}
		d[key], b = string(value), rest
	}
}
