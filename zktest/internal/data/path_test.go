package data

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestPaths(t *testing.T) {
	for path, legal := range map[string]bool{
		"/": true, "/a": true, "/.a": true, "/...": true, "/a/b-é": true, "/\U00010000": false, "/a//b": false, "/a/": false,
		"": false, "a": false, "/\x7f": false, "/\ue000": false, "/\uf900": true, "/\ufff0": false, "/a/..": false, "/./a": false, "/\x00": false,
	} {
		assert.Equal(t, V39.ValidPath(path), legal, "%q", path)
	}
	assert.Assert(t, V34.ValidPath("/\x7f"))
	for text, want := range map[string]string{ // as Java does it
		"a\xff": "a\ufffd", "\xe2\x82:": "\ufffd:", "\xed\xa0\x80:": "\ufffd:", "\xc0\x80": "\ufffd\ufffd", "\xf0\x9f\x98:": "\ufffd:",
		"\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd", "\xf0\x9f": "\ufffd", "\xe2": "\ufffd", "é\U0001F600": "é\U0001F600",
	} {
		assert.Equal(t, JavaText(text), want, "%q", text)
	}
	for text, length := range map[string]int{"": 0, "/a/é": 4, "\U0001F600": 2, "\uffff": 1} {
		assert.Equal(t, javaLen(text), length, "%q", text)
	}
}
