package load

import (
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/soak/internal/check"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// A short slice of what `make soak` does, with four kinds of server faults. It
// takes what rate the machine has.
func TestSlice(t *testing.T) {
	apache.Need(t)
	var out strings.Builder
	rep, err := Run(t.Context(), Config{
		Release: apache.V3_9, Duration: 8 * time.Second, Migrations: 60, Faults: 4, MinRate: 1, Writes: 60, Seed: 1, Dir: t.TempDir(), Out: &out,
	})
	t.Log(out.String())
	assert.NilError(t, err)
	line, code := rep.Verdict()
	t.Logf("%s; %d calls, %d lost, %d not sent, %d Gaps, %d events of gozk", line, rep.Calls, rep.Lost, rep.NotSent, rep.Gaps, rep.Dropin)
	assert.DeepEqual(t, rep.Findings, []check.Finding(nil))
	assert.Equal(t, code, 0)
	assert.Assert(t, rep.Migrations >= 60 && rep.Faults >= 4 && rep.Events > 0 && rep.Gaps > 0 && rep.Writes > 0 && rep.Dropin > 0)
	x := rep.Recipes
	t.Logf("%+v", x)
	assert.Assert(t, x.Acquired >= 20 && x.Guarded > 0 && x.Onces > 0 && x.Adds > 0 && x.Looks > 0)
	assert.Equal(t, rep.Dir, "") // nothing is left behind
}

func TestVerdict(t *testing.T) {
	rep := Report{Migrations: 7, Faults: 2, Events: 100, Dir: "DIR", Recipes: Recipes{Acquired: 5}}
	line, code := rep.Verdict()
	assert.Equal(t, line, "ok: 7 migrations, 2 server faults, 100 events, 0 lost, 0 false, 0 duplicate, 0 reordered; 5 acquisitions, 0 overlaps, 0 left over")
	assert.Equal(t, code, 0)

	rep.Void = tooSlow(300, 299, 301)
	line, code = rep.Verdict()
	assert.Equal(t, line, "void: 299 calls/s before the faults, and 300 is the least; 7 migrations, 2 server faults, 100 events, 0 lost, 0 false, 0 duplicate, 0 reordered; 5 acquisitions, 0 overlaps, 0 left over; traces in DIR")
	assert.Equal(t, code, 2)
	assert.Equal(t, len(tooSlow(300, 300, 300)), 0)
	assert.Equal(t, len(tooSlow(300, 0, 0)), 2)

	rep.Findings = []check.Finding{{Rule: "W3", What: check.Lost}, {Rule: "L", What: check.Wrong}, {Rule: "W3", What: check.Lost}, {Rule: "H", What: check.Overlap}}
	line, code = rep.Verdict()
	assert.Equal(t, line, "FAILED: 7 migrations, 2 server faults, 100 events, 2 lost, 0 false, 0 duplicate, 0 reordered; 5 acquisitions, 1 overlaps, 0 left over, 0 late, 1 wrong, 0 undecided; traces in DIR")
	assert.Equal(t, code, 1)
}

func TestNoServers(t *testing.T) {
	_, err := Run(t.Context(), Config{Release: "1.0", Duration: time.Second, Dir: t.TempDir()})
	assert.ErrorContains(t, err, "not pinned")
}
