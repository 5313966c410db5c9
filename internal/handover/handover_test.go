package handover

import (
	"encoding/json"
	"math"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/watches"
)

func TestInt(t *testing.T) {
	for n, text := range map[Int]string{0: `"0x0"`, 1: `"0x1"`, -1: `"0xffffffffffffffff"`, math.MaxInt64: `"0x7fffffffffffffff"`} {
		b, err := json.Marshal(n)
		assert.NilError(t, err)
		assert.Equal(t, string(b), text)
		var back Int
		assert.NilError(t, json.Unmarshal(b, &back))
		assert.Equal(t, back, n)
	}
	var n Int
	assert.NilError(t, json.Unmarshal([]byte("-9007199254740993"), &n), "as earlier versions wrote it")
	assert.Equal(t, n, Int(-9007199254740993))
	for _, bad := range []string{`"0x"`, `"0x10000000000000000"`, `1e3`, `1.5`, `"zxid"`, `""`} {
		assert.Assert(t, json.Unmarshal([]byte(bad), &n) != nil, bad)
	}
}

func TestEach(t *testing.T) {
	a, b := Armed{Path: "/app/a", Kind: int(watches.Data), Channel: 1}, Armed{Path: "/app/b", Kind: int(watches.Persistent), Channel: 1}
	w := Watches{Chroot: "/app", Armed: []Armed{b, b}, Events: []Event{{Armed: a, Type: 3}, {Armed: b, Type: 3}, {Armed: a, Type: 2}}}
	type entry struct {
		armed Armed
		fired bool
	}
	var list []entry
	w.Each(func(a Armed, fired bool) { list = append(list, entry{a, fired}) })
	assert.Assert(t, len(list) == 2 && list[0] == entry{b, true} && list[1] == entry{a, true}, "%+v", list)
	assert.Equal(t, w.Path(a), "/a")
	a.Raw = true
	assert.Equal(t, w.Path(a), "/app/a")
}

func TestCheck(t *testing.T) {
	data := Armed{Path: "/a", Kind: int(watches.Data)}
	persistent := Armed{Path: "/a", Kind: int(watches.Persistent)}
	recursive := Armed{Path: "/a", Kind: int(watches.Recursive)}
	for name, test := range map[string]struct {
		w    Watches
		ok   bool
		path bool
	}{
		"nothing":                    {Watches{}, true, false},
		"floor":                      {Watches{Floor: -1}, false, false},
		"armed":                      {Watches{Armed: []Armed{data}}, true, false},
		"unknown kind":               {Watches{Armed: []Armed{{Path: "/a", Kind: 6}}}, false, false},
		"a kind beyond a byte":       {Watches{Armed: []Armed{{Path: "/a", Kind: 257}}}, false, false},
		"bad path":                   {Watches{Armed: []Armed{{Path: "a", Kind: 1}}}, false, true},
		"event":                      {Watches{Events: []Event{{Armed: data, Type: 3, Event: "/a"}}}, true, false},
		"event of another kind":      {Watches{Events: []Event{{Armed: data, Type: 4, Event: "/a"}}}, false, false},
		"event of no type":           {Watches{Events: []Event{{Armed: persistent, Type: 9, Event: "/a"}}}, false, false},
		"event of another path":      {Watches{Events: []Event{{Armed: persistent, Type: 3, Event: "/a/b"}}}, false, false},
		"event below":                {Watches{Events: []Event{{Armed: recursive, Type: 3, Event: "/a/b"}}}, true, false},
		"event beside":               {Watches{Events: []Event{{Armed: recursive, Type: 3, Event: "/ab"}}}, false, false},
		"event of an odd path":       {Watches{Events: []Event{{Armed: recursive, Type: 3, Event: "/a//b/"}}}, true, false},
		"event of a bad watch":       {Watches{Events: []Event{{Armed: Armed{Path: "/a/", Kind: int(watches.Recursive)}, Type: 3, Event: "/a/b"}}}, false, true},
		"event of a negative zxid":   {Watches{Events: []Event{{Armed: data, Type: 3, Event: "/a", Zxid: -1}}}, false, false},
		"event of a watch unknown":   {Watches{Events: []Event{{Armed: Armed{Path: "/a"}, Type: 3, Event: "/a"}}}, false, false},
		"gap":                        {Watches{Events: []Event{{Armed: persistent, Type: Gap, Event: "/a"}}}, true, false},
		"gap of a one-shot":          {Watches{Events: []Event{{Armed: data, Type: Gap, Event: "/a"}}}, false, false},
		"gap below the watch's path": {Watches{Events: []Event{{Armed: recursive, Type: Gap, Event: "/a/b"}}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			problem, path := test.w.Check()
			assert.Equal(t, problem == "", test.ok, problem)
			if problem != "" {
				assert.Equal(t, path, test.path, problem)
			}
		})
	}
}
