package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// The pictures in the folder are those that the program draws.
func TestPictures(t *testing.T) {
	files, err := filepath.Glob("*.svg")
	assert.NilError(t, err)
	assert.Equal(t, len(files), len(pictures), "a picture that nothing draws: %v", files)
	for name, draw := range pictures {
		want, err := os.ReadFile(name)
		assert.NilError(t, err)
		got := draw()
		assert.Check(t, got == string(want), "%s is not what the program draws: cd docs/pictures && go run .", name)
		assert.Check(t, wellFormed(got), name)
	}
}

func wellFormed(s string) bool {
	for d := xml.NewDecoder(strings.NewReader(s)); ; {
		if _, err := d.Token(); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
