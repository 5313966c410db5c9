package data

import (
	"testing"

	"gotest.tools/v3/assert"
)

// Releases before 3.6 forget the quotas below a path with the path's own.
func TestQuotaTree(t *testing.T) {
	for version, want := range map[Version]string{V35: "", V36: "/a/b"} {
		q := &quotas{}
		q.add("/a")
		q.add("/a/b")
		assert.Equal(t, q.of("/a/b/c"), "/a/b")
		assert.Equal(t, q.of("/a/bc"), "/a")
		assert.Equal(t, q.of("/ab"), "")
		assert.Equal(t, q.clone().of("/a/b"), "/a/b")
		q.remove("/none/b", version)
		q.remove("/a", version)
		assert.Equal(t, q.of("/a/b/c"), want)
		assert.Equal(t, q.of("/a/x"), "")
	}
}

func TestTrack(t *testing.T) {
	for data, want := range map[string]string{
		"count=1,bytes=2": "count=1,bytes=2", "": "count=-1,bytes=-1", "bytes=3": "count=-1,bytes=3", "count==5": "count=-1,bytes=-1",
		"b=1;a=2;count=+3": "count=3,bytes=-1=;a=2;b=1", "count=1,bytes=2=;countHardLimit=3": "count=1,bytes=2=;countHardLimit=3",
	} {
		got, ok := V37.parseTrack([]byte(data))
		assert.Assert(t, ok, data)
		assert.Equal(t, string(got.data()), want)
	}
	for _, data := range []string{"x", "=", "count=x", ",count=1", "count="} {
		_, ok := V37.parseTrack([]byte(data))
		assert.Assert(t, !ok, data)
	}
	_, ok := V37.parseTrack(nil)
	assert.Assert(t, !ok)
	got, ok := V36.parseTrack([]byte("count=1,bytes=2=;countHardLimit=3"))
	assert.Assert(t, ok)
	assert.Equal(t, string(got.data()), "count=1,bytes=2")
	for _, data := range []string{"", "count=1", "count=1,bytes", "count=1,bytes=2,x=3"} {
		_, ok := V36.parseTrack([]byte(data))
		assert.Assert(t, !ok, data)
	}
}
