package registry

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

const ours = 77 // a session

// What forbids to claim a session, and which of several reasons counts.
func TestClaim(t *testing.T) {
	adopt := func(r *reg) {
		r.Adopt(&handover.Watches{Chroot: "/app", Armed: []handover.Armed{{Path: "/app/x", Kind: 1, Channel: 1}}})
	}
	arm := func(r *reg) { r.arm("/app/x", watches.Data, 0) }
	own := func(r *reg) { r.Own("owner", ours, []byte("secret")) }
	for _, x := range []struct {
		name   string
		do     []func(r *reg)
		id     int64
		chroot string
		want   Verdict
	}{
		{"new", nil, 0, "/any", Ours},
		{"nobody has had it", nil, 5, "/any", Ours},
		{"known", []func(*reg){own, arm}, ours, "/app", Ours},
		{"the owner's next", []func(*reg){own, arm}, 0, "/app", Ours},
		{"no channels", []func(*reg){adopt}, 0, "/app", Unbound},
		{"no channels, another session", []func(*reg){adopt, own}, 5, "/app", Unbound},
		{"another session", []func(*reg){own}, 5, "/app", Moved},
		{"another session, ended, another chroot", []func(*reg){own, arm, (*reg).End}, 5, "/other", Moved},
		{"ended", []func(*reg){own, (*reg).End}, ours, "/app", Ended},
		{"ended, another chroot", []func(*reg){own, arm, (*reg).End}, ours, "/other", Ended},
		{"a new one of one that has ended", []func(*reg){own, (*reg).End}, 0, "/app", Ours},
		{"owned anew", []func(*reg){own, (*reg).End, own}, ours, "/app", Ours},
		{"another chroot", []func(*reg){own, arm}, ours, "/other", OtherChroot},
		{"another chroot, no watches", []func(*reg){own}, ours, "/other", Ours},
	} {
		t.Run(x.name, func(t *testing.T) {
			var r reg
			_, ok := r.Enter("/app")
			assert.Assert(t, ok)
			for _, do := range x.do {
				do(&r)
			}
			c := r.Claim(x.id, x.chroot)
			assert.Assert(t, c.Verdict == x.want && c.Chroot == "/app", "%+v", c)
			assert.Equal(t, c.Known, x.id == ours)
			assert.Equal(t, string(c.Password), map[bool]string{true: "secret"}[c.Known])
		})
	}
}

// The chroot changes only while nothing is watched and no event is on its way.
func TestEnter(t *testing.T) {
	var r reg
	enter := func(chroot, theirs string, want bool) {
		t.Helper()
		got, ok := r.Enter(chroot)
		assert.Assert(t, got == theirs && ok == want, "%q, %t", got, ok)
	}
	enter("/a", "", true)
	enter("/b", "", true)
	ch := r.arm("/b/x", watches.Data, 1)
	enter("/b", "", true)
	enter("/c", "/b", false)
	r.event(t, changed, "/b/x")
	enter("/c", "/b", false)
	r.Start()
	enter("/c", "", true)
	assert.DeepEqual(t, got(ch), []event{{changed, "/x", 0}})
}

func TestOwn(t *testing.T) {
	var r reg
	assert.Equal(t, r.Own("one", ours, nil), nil)
	assert.Equal(t, r.Own("two", 0, nil), "one")
	c := r.Claim(ours, "")
	assert.Assert(t, c.Verdict == Moved && !c.Known && c.Owner == "two", "%+v", c)
	assert.Assert(t, !r.Claim(0, "").Known, "0 is no session")
	turn := r.Turn()
	assert.Assert(t, turn == r.Turn() && cap(turn) == 1)
	assert.Assert(t, !r.Reads())
	r.ReadNext()
	assert.Assert(t, r.Reads())
}
