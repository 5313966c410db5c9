package gssapi

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/seed-9f8420c6/zk/sasl"
)

// ticket is one for a server, and the key in it.
type ticket struct {
	messages.Ticket
	key types.EncryptionKey
}

// ticket gets one. gokrb5 knows no contexts.
func (m Mechanism) ticket(ctx context.Context, principal string) (*ticket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		t   *ticket
		err error
	}
	got := make(chan result, 1)
	go func() {
		t, err := ask(m.Client, principal)
		got <- result{t, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, fmt.Errorf("%w: ticket for %q: %w", kindOf(r.err), principal, printed{r.err})
		}
		return r.t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask asks a KDC, or the client's cache. The ticket that the client logged in with
// may be of no use any more: it has ended while no KDC was there to renew it, or
// the KDC has other keys now. gokrb5 would go on trying with it.
func ask(cl *client.Client, principal string) (*ticket, error) {
	t, key, err := cl.GetServiceTicket(principal)
	if code, ok := answer(err); ok && slices.Contains(stale, code) && cl.Login() == nil {
		t, key, err = cl.GetServiceTicket(principal)
	}
	return &ticket{t, key}, err
}

// printed is an error whose text a KDC had a hand in: what a terminal might obey
// is escaped.
type printed struct{ error }

func (p printed) Unwrap() error { return p.error }

func (p printed) Error() string {
	text := strconv.Quote(p.error.Error())
	return strings.ReplaceAll(text[1:len(text)-1], `\"`, `"`)
}

// stale are the answers of a KDC that a new login may help against.
var stale = []int32{errorcode.KDC_ERR_TGT_REVOKED, errorcode.KRB_AP_ERR_BAD_INTEGRITY, errorcode.KRB_AP_ERR_TKT_EXPIRED}

// refusals are the answers of a KDC that say no to the client or the server, and
// will do so again. The others are of the moment, such as KDC_ERR_SVC_UNAVAILABLE
// and KRB_AP_ERR_SKEW, or say nothing of the credentials.
var refusals = append([]int32{
	errorcode.KDC_ERR_NAME_EXP, errorcode.KDC_ERR_SERVICE_EXP,
	errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_PRINCIPAL_NOT_UNIQUE, errorcode.KDC_ERR_NULL_KEY,
	errorcode.KDC_ERR_POLICY, errorcode.KDC_ERR_ETYPE_NOSUPP, errorcode.KDC_ERR_PADATA_TYPE_NOSUPP,
	errorcode.KDC_ERR_CLIENT_REVOKED, errorcode.KDC_ERR_SERVICE_REVOKED, errorcode.KDC_ERR_KEY_EXPIRED,
	errorcode.KDC_ERR_PREAUTH_FAILED, errorcode.KDC_ERR_PREAUTH_REQUIRED, errorcode.KDC_ERR_SERVER_NOMATCH, errorcode.KDC_ERR_MUST_USE_USER2USER,
	errorcode.KDC_ERR_PATH_NOT_ACCEPTED, errorcode.KDC_ERR_KEY_TOO_WEAK, errorcode.KDC_ERR_WRONG_REALM,
}, stale...)

// gokrb5 keeps no types in its errors, but for the texts of these two.
var (
	kdcAnswer = regexp.MustCompile(`KRB Error: (?:\(|Unknown ErrorCode )(-?\d{1,10})`)
	rootCause = regexp.MustCompile(`\[Root cause: (\w+)\]`)
)

// answer returns the code that a KDC answered with. The first in the text is it:
// behind it the KDC may say whatever it likes.
func answer(err error) (int32, bool) {
	if err == nil {
		return 0, false
	}
	found := kdcAnswer.FindStringSubmatch(err.Error())
	if found == nil {
		return 0, false
	}
	code, err := strconv.ParseInt(found[1], 10, 32)
	return int32(code), err == nil
}

// kindOf says whether an error of gokrb5 is a refusal, or of the moment.
func kindOf(err error) sasl.Error {
	if code, ok := answer(err); ok {
		if slices.Contains(refusals, code) {
			return sasl.ErrCredential
		}
		return sasl.ErrUnavailable
	}
	root := rootCause.FindStringSubmatch(err.Error())
	switch {
	case strings.Contains(err.Error(), "no user credentials available"): // a credential cache whose ticket has ended
		return sasl.ErrCredential
	case root == nil:
		return sasl.ErrUnavailable
	case root[1] == krberror.ConfigError || root[1] == krberror.EncryptingError: // no key, before a KDC was asked or for what it asks
		return sasl.ErrCredential
	case root[1] == krberror.DecryptingError && strings.Contains(err.Error(), "AS_REP"): // with this key
		return sasl.ErrCredential
	}
	return sasl.ErrUnavailable
}
