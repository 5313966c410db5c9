package gssapi

import (
	"context"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/seed-9f8420c6/zk/sasl"
)

// Begin is Mechanism.Start with a ticket that is there.
func Begin(t messages.Ticket, key types.EncryptionKey, realm string, client types.PrincipalName) (sasl.Exchange, []byte, error) {
	x, token, err := begin("test", &ticket{t, key}, realm, client)
	if err != nil {
		return nil, nil, err
	}
	return x, token, nil
}

// Principal returns whom Mechanism.Start asks a ticket for.
func (m Mechanism) Principal(ctx context.Context, host string) (string, error) {
	return m.principal(ctx, host)
}
