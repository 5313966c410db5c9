package gssapi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/seed-9f8420c6/zk/sasl"
)

// maxToken is far above what a server has to say.
const maxToken = 64 << 10

// oid names Kerberos 5 at the head of a token, in DER.
var oid = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02}

// Tokens of the context's establishment (RFC 4121, 4.1).
const (
	idRequest = 0x0100
	idReply   = 0x0200
	idError   = 0x0300
)

// exchange is one with one server: the ticket, the server's proof that it could
// read it, the offer of security layers, of which none is taken, and the end.
type exchange struct {
	name string // of the mechanism
	step int
	auth types.Authenticator
	base types.EncryptionKey // of the ticket
	key  types.EncryptionKey // of this connection
	// accepted: key is one that the server chose
	accepted bool
}

// Format prints no secrets, whatever the verb.
func (x *exchange) Format(f fmt.State, _ rune) { io.WriteString(f, x.name) }

// keySizes has the encryption types that are used. Others have tokens of another
// form, and are not safe.
var keySizes = map[int32]int{
	etypeID.AES128_CTS_HMAC_SHA1_96: 16, etypeID.AES256_CTS_HMAC_SHA1_96: 32,
	etypeID.AES128_CTS_HMAC_SHA256_128: 16, etypeID.AES256_CTS_HMAC_SHA384_192: 32,
}

// algorithms returns those of a key.
func algorithms(key types.EncryptionKey) (etype.EType, error) {
	size, ok := keySizes[key.KeyType]
	switch {
	case !ok:
		return nil, failure(sasl.ErrUnsupported, "encryption type %d", key.KeyType)
	case len(key.KeyValue) != size:
		return nil, failure(sasl.ErrMalformed, "a key of %d bytes", len(key.KeyValue))
	}
	return crypto.GetEtype(key.KeyType)
}

// begin makes the first token of an exchange.
func begin(name string, t *ticket, realm string, client types.PrincipalName) (*exchange, []byte, error) {
	if _, err := algorithms(t.key); err != nil {
		return nil, nil, err
	}
	auth, err := types.NewAuthenticator(realm, client)
	if err != nil {
		return nil, nil, err
	}
	if err := auth.GenerateSeqNumberAndSubKey(t.key.KeyType, keySizes[t.key.KeyType]); err != nil {
		return nil, nil, err
	}
	// RFC 4121, 4.1.1: no channel bindings, and what we want of the context.
	sum := make([]byte, 24)
	binary.LittleEndian.PutUint32(sum, 16)
	binary.LittleEndian.PutUint32(sum[20:], gssapi.ContextFlagMutual|gssapi.ContextFlagInteg)
	auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: sum}
	req, err := messages.NewAPReq(t.Ticket, t.key, auth)
	if err != nil {
		return nil, nil, err
	}
	types.SetFlag(&req.APOptions, flags.APOptionMutualRequired)
	body, err := req.Marshal()
	if err != nil {
		return nil, nil, err
	}
	return &exchange{name: name, auth: auth, base: t.key, key: auth.SubKey}, frame(idRequest, body), nil
}

// frame puts the head of a token before its body.
func frame(id uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(bytes.Clone(oid), id)
	return asn1tools.AddASNAppTag(append(b, body...), 0)
}

// unframe takes the head of a token off.
func unframe(b []byte) (id uint16, body []byte, ok bool) {
	if len(b) < 2 || b[0] != 0x60 {
		return 0, nil, false
	}
	n, b := int(b[1]), b[2:]
	if n >= 0x80 {
		size := n - 0x80
		if size == 0 || size > 3 || size > len(b) {
			return 0, nil, false
		}
		n = 0
		for _, c := range b[:size] {
			n = n<<8 | int(c)
		}
		b = b[size:]
	}
	b, named := bytes.CutPrefix(b, oid)
	if !named || n != len(oid)+len(b) || len(b) < 2 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[2:], true
}

func (x *exchange) Next(token []byte) ([]byte, bool, error) {
	x.step++
	if len(token) > maxToken {
		return nil, false, failure(sasl.ErrMalformed, "%d bytes", len(token))
	}
	switch x.step {
	case 1:
		if len(token) == 0 {
			return nil, false, failure(sasl.ErrUnsupported, "the server has no SASL, or has ignored the ticket")
		}
		return []byte{}, false, x.verify(token)
	case 2:
		if len(token) == 0 {
			return nil, false, failure(sasl.ErrUnproved, "no security layers are offered")
		}
		response, err := x.choose(token)
		return response, false, err
	case 3:
		if len(token) == 0 { // null
			return nil, true, nil
		}
	}
	return nil, false, failure(sasl.ErrMalformed, "a token after the end")
}

// verify checks that the server could read our ticket: it knows when we made
// the authenticator. It takes the key over that the server chose, if it did.
func (x *exchange) verify(token []byte) error {
	id, body, ok := unframe(token)
	switch {
	case !ok:
		return failure(sasl.ErrMalformed, "not a token of Kerberos")
	case id == idError:
		var e messages.KRBError
		if err := e.Unmarshal(body); err != nil {
			return failure(sasl.ErrMalformed, "an error that cannot be read")
		}
		return failure(sasl.ErrUnproved, "%s", errorcode.Lookup(e.ErrorCode))
	case id != idReply:
		return failure(sasl.ErrMalformed, "token %#04x", id)
	}
	var rep messages.APRep
	if err := rep.Unmarshal(body); err != nil {
		return failure(sasl.ErrMalformed, "a reply that cannot be read")
	}
	et, err := algorithms(x.base)
	if err != nil {
		return err
	}
	if rep.EncPart.EType != x.base.KeyType || len(rep.EncPart.Cipher) < et.GetConfounderByteSize()+et.GetHMACBitLength()/8 {
		return failure(sasl.ErrMalformed, "a reply of %d bytes with encryption type %d", len(rep.EncPart.Cipher), rep.EncPart.EType)
	}
	plain, err := crypto.DecryptEncPart(rep.EncPart, x.base, keyusage.AP_REP_ENCPART)
	if err != nil {
		return failure(sasl.ErrUnproved, "its reply is not encrypted with the ticket's key")
	}
	var part messages.EncAPRepPart
	if err := part.Unmarshal(plain); err != nil {
		return failure(sasl.ErrMalformed, "a reply that cannot be read")
	}
	if part.CTime.Unix() != x.auth.CTime.Unix() || part.Cusec != x.auth.Cusec {
		return failure(sasl.ErrUnproved, "its reply is to somebody else")
	}
	if len(part.Subkey.KeyValue) > 0 {
		if _, err := algorithms(part.Subkey); err != nil {
			return err
		}
		x.key, x.accepted = part.Subkey, true
	}
	return nil
}

// Wrap tokens (RFC 4121, 4.2.6.2) without encryption: a head, the data, and a
// checksum of both.
const (
	wrapHead       = 16
	flagByAcceptor = 1
	flagSealed     = 2
	flagSubkey     = 4 // the acceptor's
)

// head is the first half of a wrap token's head, with the sizes of the second
// left out, as the checksum covers it.
func (x *exchange) head(by byte, seq uint64) []byte {
	if x.accepted {
		by |= flagSubkey
	}
	return binary.BigEndian.AppendUint64([]byte{5, 4, by, 0xff, 0, 0, 0, 0}, seq)
}

// unwrap checks a wrap token from the server and returns its data. The key is
// this connection's, and only one token is taken: so its number does not matter.
func (x *exchange) unwrap(token []byte) ([]byte, error) {
	et, err := algorithms(x.key)
	if err != nil {
		return nil, err
	}
	size := et.GetHMACBitLength() / 8
	if len(token) < wrapHead+size {
		return nil, failure(sasl.ErrMalformed, "a wrap token of %d bytes", len(token))
	}
	head := x.head(flagByAcceptor, binary.BigEndian.Uint64(token[8:]))
	ec, turned := int(binary.BigEndian.Uint16(token[4:])), int(binary.BigEndian.Uint16(token[6:]))
	switch {
	case token[2]&flagSealed != 0 && token[0] == head[0] && token[1] == head[1]:
		return nil, failure(sasl.ErrUnsupported, "an encrypted offer")
	case !bytes.Equal(token[:4], head[:4]) || ec != size:
		return nil, failure(sasl.ErrMalformed, "a wrap token that begins with %x", token[:8])
	}
	rest := token[wrapHead:]
	turned %= len(rest) // to the right: the last bytes came first
	rest = append(bytes.Clone(rest[turned:]), rest[:turned]...)
	data, sum := rest[:len(rest)-size], rest[len(rest)-size:]
	if !et.VerifyChecksum(x.key.KeyValue, append(bytes.Clone(data), head...), sum, keyusage.GSSAPI_ACCEPTOR_SEAL) {
		return nil, failure(sasl.ErrUnproved, "a wrong checksum")
	}
	return data, nil
}

// wrap makes a wrap token for the server.
func (x *exchange) wrap(data []byte) ([]byte, error) {
	et, err := algorithms(x.key)
	if err != nil {
		return nil, err
	}
	head := x.head(0, uint64(x.auth.SeqNumber))
	sum, err := et.GetChecksumHash(x.key.KeyValue, append(bytes.Clone(data), head...), keyusage.GSSAPI_INITIATOR_SEAL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", sasl.ErrUnsupported, err)
	}
	binary.BigEndian.PutUint16(head[4:], uint16(len(sum)))
	return append(append(head, data...), sum...), nil
}

const noLayer = 1 // the bit of the offer, and of the choice

// choose reads which security layers the server offers, and chooses none of
// them (RFC 4752, 3.1): TLS is for that.
func (x *exchange) choose(token []byte) ([]byte, error) {
	offer, err := x.unwrap(token)
	if err != nil {
		return nil, err
	}
	if len(offer) != 4 {
		return nil, failure(sasl.ErrMalformed, "an offer of %d bytes", len(offer))
	}
	if offer[0]&noLayer == 0 {
		return nil, failure(sasl.ErrUnsupported, "the server insists on a security layer")
	}
	return x.wrap([]byte{noLayer, 0, 0, 0})
}
