package suite

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestMutantsPatch(t *testing.T) {
	files := parsePatch(t, "why\n--- a/x.go\n+++ b/x.go\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n@@ -9 +9 @@\n-nine\n+9\n")
	out, err := applyHunks("zero\none\ntwo\nnine\n", files["x.go"])
	assert.NilError(t, err)
	assert.Equal(t, out, "zero\none\n2\n9\n")
	_, err = applyHunks("one\ntwo\none\ntwo\nnine\n", files["x.go"])
	assert.ErrorContains(t, err, "hunk 1 fits at 2 places")
	_, err = applyHunks("one\ntwo\n", files["x.go"])
	assert.ErrorContains(t, err, "hunk 2 fits at 0 places")
}
