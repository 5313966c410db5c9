package recipe

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// heldContext is what a context of Hold.Context knows of it.
type heldContext struct {
	hold  *Hold
	outer *heldContext
}

type heldKey struct{}

// Context returns a context that ends with the hold. Its context.Cause is then
// what Err returns. Canceling it does not release the hold. Acquire of the same
// lock under it is ErrDeadlock.
func (h *Hold) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	outer, _ := ctx.Value(heldKey{}).(*heldContext)
	held := &heldContext{h, outer}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, heldKey{}, held))
	end := func() { cancel(nil) }
	if err := h.Err(); err != nil {
		cancel(err)
		return ctx, end
	}
	in := h.inner()
	in.mu.Lock()
	if in.err != nil {
		cancel(in.err)
	} else {
		if in.contexts == nil {
			in.contexts = map[*heldContext]context.CancelCauseFunc{}
		}
		in.contexts[held] = cancel
	}
	in.mu.Unlock()
	context.AfterFunc(ctx, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.contexts, held)
	})
	return ctx, end
}

// heldBy reports whether ctx was made by a hold, which this session still has,
// of the same directory.
func heldBy(ctx context.Context, id *identity, s *zk.Session, dir string) bool {
	held, _ := ctx.Value(heldKey{}).(*heldContext)
	for ; held != nil; held = held.outer {
		in := held.hold.inner()
		if in != nil && in.id == id && in.claim.session == s.ID() && in.claim.key.dir == fullPath(s, dir) && held.hold.Err() == nil {
			return true
		}
	}
	return false
}
