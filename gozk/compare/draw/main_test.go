package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// The picture is that of the figures.
func TestPicture(t *testing.T) {
	figures, err := os.ReadFile("../../docs/loss.csv")
	assert.NilError(t, err)
	want, err := os.ReadFile("../../docs/loss.svg")
	assert.NilError(t, err)
	got, err := draw(bytes.NewReader(figures))
	assert.NilError(t, err)
	assert.Equal(t, string(got), string(want))
	for _, bad := range []string{"", "gozk,1,0\n", "gozk,1,0,6000\n", "other,1,0,6000\n", "gozk,x,0,6000\n"} {
		_, err := draw(strings.NewReader(bad))
		assert.Assert(t, err != nil, "%q", bad)
	}
}
