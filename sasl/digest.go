package sasl

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// digestURI is what every ZooKeeper server calls itself, wherever it runs.
const digestURI = "zookeeper/zk-sasl-md5"

// DigestMD5 returns the mechanism DIGEST-MD5 (RFC 2831), as ZooKeeper servers
// offer it with DigestLoginModule. Authentication is mutual: if the server does
// not know the password, the exchange ends with ErrUnproved. The password is
// never sent and never printed. User and password are UTF-8. If the user is empty
// or has control characters, Start fails with ErrCredential.
//
// MD5 is weak against eavesdroppers: use TLS too. Servers in FIPS mode, the
// default since 3.9, do not support it.
//
// Servers up to 3.8.6 accept an unknown user with the password of the user that
// they looked up last, under the name that it claims. 3.9.5 refuses it. So with
// older servers every user of the server's JAAS file can pass for a user who is
// not in it.
func DigestMD5(user, password string) Mechanism {
	return &digestMD5{user: user, password: func() string { return password }, uri: digestURI, nonce: randomNonce}
}

type digestMD5 struct {
	user     string
	password func() string // hidden from fmt where it sees fields and calls no methods
	uri      string
	nonce    func() string
}

// String prints no secret.
func (m *digestMD5) String() string { return fmt.Sprintf("DIGEST-MD5 %q", m.user) }

// Format prints no secret, whatever the verb.
func (m *digestMD5) Format(f fmt.State, _ rune) { io.WriteString(f, m.String()) }

// LogValue prints no secret.
func (m *digestMD5) LogValue() slog.Value { return slog.StringValue(m.String()) }

func randomNonce() string {
	var b [20]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (m *digestMD5) Start(ctx context.Context, host string) (Exchange, []byte, error) {
	for _, s := range []string{m.user, m.password()} {
		if !utf8.ValidString(s) {
			return nil, nil, failure(ErrCredential, "not UTF-8")
		}
	}
	if m.user == "" || hasControl([]byte(m.user)) {
		return nil, nil, failure(ErrCredential, "a user that is empty or has control characters")
	}
	return &digestExchange{m: m}, []byte{}, nil
}

// digestExchange is one exchange: a challenge, our response, the server's proof.
type digestExchange struct {
	m      *digestMD5
	step   int
	expect []byte // of the server, to prove itself
}

// Format prints no secret, whatever the verb.
func (x *digestExchange) Format(f fmt.State, _ rune) { io.WriteString(f, x.m.String()) }

func (x *digestExchange) Next(token []byte) ([]byte, bool, error) {
	x.step++
	switch {
	case x.step == 1 && len(token) == 0:
		return nil, false, failure(ErrUnsupported, "the server has no SASL")
	case x.step == 1:
		response, err := x.respond(token)
		return response, false, err
	case x.step == 2 && len(token) == 0:
		return nil, false, failure(ErrUnproved, "no proof")
	case x.step == 2:
		err := x.verify(token)
		return nil, err == nil, err
	}
	return nil, false, failure(ErrMalformed, "a challenge after the end")
}

const (
	maxChallenge = 2048 // RFC 2831: a challenge must be shorter
	maxResponse  = 4096 // and a response than this
)

// respond answers the server's challenge.
func (x *digestExchange) respond(token []byte) ([]byte, error) {
	c, err := parseChallenge(token)
	if err != nil {
		return nil, err
	}
	user, err := encode(x.m.user, c.utf8)
	if err != nil {
		return nil, err
	}
	cnonce := x.m.nonce()
	mine, theirs, err := x.m.values(c, cnonce)
	if err != nil {
		return nil, err
	}
	x.expect = theirs
	var b []byte
	if c.utf8 {
		b = append(b, "charset=utf-8,"...)
	}
	b = appendQuoted(append(b, "username="...), user)
	if c.hasRealm {
		b = appendQuoted(append(b, ",realm="...), c.realm)
	}
	b = appendQuoted(append(b, ",nonce="...), c.nonce)
	b = append(b, ",nc=00000001"...)
	b = appendQuoted(append(b, ",cnonce="...), []byte(cnonce))
	b = appendQuoted(append(b, ",digest-uri="...), []byte(x.m.uri))
	b = append(append(b, ",response="...), mine...)
	b = append(b, ",qop=auth"...)
	if len(b) >= maxResponse {
		return nil, failure(ErrCredential, "a response of %d bytes, the limit is %d", len(b), maxResponse-1)
	}
	return b, nil
}

// values computes what each side has to show, from what only both know.
func (m *digestMD5) values(c *challenge, cnonce string) (mine, theirs []byte, err error) {
	user, err := hashed(m.user, c.utf8)
	if err != nil {
		return nil, nil, err
	}
	password, err := hashed(m.password(), c.utf8)
	if err != nil {
		return nil, nil, err
	}
	realm := c.realm
	if c.utf8 {
		realm, _ = hashed(string(realm), true)
	}
	secret := md5.Sum(join(user, realm, password))
	a1 := hexMD5(join(secret[:], c.nonce, []byte(cnonce)))
	value := func(a2 string) []byte {
		return hexMD5(join(a1, c.nonce, []byte("00000001"), []byte(cnonce), []byte("auth"), hexMD5([]byte(a2))))
	}
	return value("AUTHENTICATE:" + m.uri), value(":" + m.uri), nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, []byte(":")) }

func hexMD5(b []byte) []byte {
	sum := md5.Sum(b)
	return hex.AppendEncode(nil, sum[:])
}

// encode writes a string as the charset of the exchange has it.
func encode(s string, inUTF8 bool) ([]byte, error) {
	if inUTF8 {
		return []byte(s), nil
	}
	if b, ok := latin1(s); ok {
		return b, nil
	}
	return nil, failure(ErrCredential, "the server takes ISO 8859-1 only")
}

// hashed is what goes into the hash: ISO 8859-1 wherever that has all characters.
func hashed(s string, inUTF8 bool) ([]byte, error) {
	if b, ok := latin1(s); ok {
		return b, nil
	}
	return encode(s, inUTF8)
}

func latin1(s string) ([]byte, bool) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, false
		}
		b = append(b, byte(r))
	}
	return b, true
}

// verify checks the server's proof.
func (x *digestExchange) verify(token []byte) error {
	list, err := parseDirectives(token)
	if err != nil {
		return err
	}
	var proof []byte
	for _, d := range list {
		if d.name == "rspauth" {
			if proof != nil {
				return failure(ErrMalformed, "two of rspauth")
			}
			proof = d.value
		}
	}
	switch {
	case proof == nil:
		return failure(ErrUnproved, "no rspauth")
	case subtle.ConstantTimeCompare(proof, x.expect) != 1:
		return failure(ErrUnproved, "a wrong rspauth")
	}
	return nil
}

// challenge is what matters here of a digest-challenge.
type challenge struct {
	realm    []byte // in the charset of the exchange
	hasRealm bool
	nonce    []byte
	utf8     bool
}

// parseChallenge reads a digest-challenge strictly: what RFC 2831 has a client
// refuse is refused.
func parseChallenge(token []byte) (*challenge, error) {
	list, err := parseDirectives(token)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	c := new(challenge)
	for _, d := range list {
		switch d.name {
		case "realm": // a server may offer several
			if !c.hasRealm {
				c.realm, c.hasRealm = d.value, true
			}
			continue
		case "nonce", "qop", "stale", "maxbuf", "charset", "algorithm", "cipher":
		default:
			continue // to be ignored
		}
		if seen[d.name] {
			return nil, failure(ErrMalformed, "two of %s", d.name)
		}
		seen[d.name] = true
		value := bytes.ToLower(d.value)
		switch d.name {
		case "nonce":
			c.nonce = d.value
		case "qop":
			if !hasWord(value, "auth") {
				return nil, failure(ErrUnsupported, "qop %q", short(d.value))
			}
		case "maxbuf":
			if !isNumber(value) {
				return nil, failure(ErrMalformed, "maxbuf %q", short(d.value))
			}
		case "charset":
			if string(value) != "utf-8" {
				return nil, failure(ErrUnsupported, "charset %q", short(d.value))
			}
			c.utf8 = true
		case "algorithm":
			if string(value) != "md5-sess" {
				return nil, failure(ErrUnsupported, "algorithm %q", short(d.value))
			}
		}
	}
	switch {
	case len(c.nonce) == 0:
		return nil, failure(ErrMalformed, "no nonce")
	case !seen["algorithm"]:
		return nil, failure(ErrMalformed, "no algorithm")
	case c.utf8 && !utf8.Valid(c.realm):
		return nil, failure(ErrMalformed, "a realm that is not UTF-8")
	}
	return c, nil
}

func hasWord(list []byte, word string) bool {
	for w := range bytes.SplitSeq(list, []byte(",")) {
		if string(bytes.Trim(w, lws)) == word {
			return true
		}
	}
	return false
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// directive is one name=value of a list.
type directive struct {
	name  string // in small letters
	value []byte // without quotes
}

const lws = " \t\r\n"

// parseDirectives reads 1#( name "=" ( token | quoted-string ) ), where a list
// may have empty elements.
func parseDirectives(b []byte) ([]directive, error) {
	if len(b) >= maxChallenge {
		return nil, failure(ErrMalformed, "%d bytes, the limit is %d", len(b), maxChallenge-1)
	}
	var list []directive
	for {
		b = bytes.TrimLeft(b, lws+",")
		if len(b) == 0 {
			break
		}
		n := tokenLen(b)
		name, rest := b[:n], bytes.TrimLeft(b[n:], lws)
		if n == 0 || len(rest) == 0 || rest[0] != '=' {
			return nil, failure(ErrMalformed, "no name=value at %q", short(b))
		}
		rest = bytes.TrimLeft(rest[1:], lws)
		value, rest, ok := parseValue(rest)
		if !ok {
			return nil, failure(ErrMalformed, "the value of %q", short(name))
		}
		rest = bytes.TrimLeft(rest, lws)
		if len(rest) > 0 && rest[0] != ',' {
			return nil, failure(ErrMalformed, "no comma at %q", short(rest))
		}
		list = append(list, directive{string(bytes.ToLower(name)), value})
		b = rest
	}
	return list, nil
}

func parseValue(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		n := tokenLen(b)
		return b[:n], b[n:], n > 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return value, b[i+1:], true
		case c == '\\':
			if i++; i == len(b) || b[i] >= utf8.RuneSelf || isControl(b[i]) {
				return nil, nil, false
			}
			value = append(value, b[i])
		case isControl(c) && c != '\t':
			return nil, nil, false
		default:
			value = append(value, c)
		}
	}
	return nil, nil, false
}

// tokenLen returns how many characters of a token b begins with.
func tokenLen(b []byte) int {
	for i, c := range b {
		if isControl(c) || c >= utf8.RuneSelf || strings.IndexByte(" ()<>@,;:\\\"/[]?={}", c) >= 0 {
			return i
		}
	}
	return len(b)
}

func isControl(c byte) bool { return c < ' ' || c == 0x7f }

func hasControl(b []byte) bool {
	return bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func appendQuoted(dst, value []byte) []byte {
	dst = append(dst, '"')
	for _, c := range value {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// short cuts what a server sent to the length of an error message.
func short(b []byte) []byte { return b[:min(len(b), 32)] }
