package talk

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// describe fills in what a request's record says.
func describe(f *Entry, d *wire.Decoder) {
	switch f.Op {
	case wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2:
		var q wire.PathWatchRequest
		q.Decode(d)
		if f.Path = q.Path; q.Watch {
			f.note("watch")
		}
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		var q wire.CreateRequest // of createTTL all but the last field
		q.Decode(d)
		if f.Path = q.Path; d.Err() == nil && q.Flags != 0 {
			f.note(modeName(q.Flags))
		}
	case wire.OpSetData:
		var q wire.SetDataRequest
		q.Decode(d)
		if f.Path = q.Path; d.Err() == nil {
			f.version(q.Version)
		}
	case wire.OpDelete, wire.OpCheck:
		var q wire.PathVersionRequest
		q.Decode(d)
		f.Path = q.Path
		f.version(q.Version)
	case wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber, wire.OpSetACL, wire.OpCheckWatches, wire.OpRemoveWatches:
		var q wire.PathRequest // which the longer ones begin with
		q.Decode(d)
		f.Path = q.Path
	case wire.OpAddWatch:
		var q wire.AddWatchRequest
		q.Decode(d)
		if f.Path = q.Path; q.Mode == wire.AddWatchPersistentRecursive {
			f.note("recursive")
		}
	case wire.OpSetWatches, wire.OpSetWatches2:
		f.Zxid = d.Int64()
		describeWatches(f, d)
	case wire.OpAuth:
		d.Int32()
		f.note("scheme " + plainWord(d.String())) // and no word of the credential
	case wire.OpMulti, wire.OpMultiRead:
		describeMulti(f, d)
	}
}

func (f *Entry) version(v int32) {
	if v != -1 {
		f.note(fmt.Sprint("version ", v))
	}
}

func modeName(flags int32) string {
	names := [...]string{"persistent", "ephemeral", "sequential", "ephemeral sequential", "container", "TTL", "sequential TTL"}
	if flags < 0 || int(flags) >= len(names) {
		return fmt.Sprint("mode ", flags)
	}
	return names[flags]
}

func describeWatches(f *Entry, d *wire.Decoder) {
	kinds := []string{"data", "exist", "child", "persistent", "recursive"}
	if f.Op == wire.OpSetWatches {
		kinds = kinds[:3]
	}
	for _, kind := range kinds {
		n := max(d.Count(4), 0)
		for range n {
			d.Buffer()
		}
		if d.Err() == nil && n > 0 {
			f.note(fmt.Sprintf("%d %s", n, kind))
		}
	}
}

// shownOps is how many operations of a multi its entry names.
const shownOps = 8

func describeMulti(f *Entry, d *wire.Decoder) {
	if f.Len > d.Len()+8 {
		d.Fail("") // only some of it is here
		return
	}
	var q wire.MultiRequest
	q.Decode(d)
	var ops []string
	for _, op := range q.Ops[:min(len(q.Ops), shownOps)] {
		path := ""
		switch q := op.Request.(type) {
		case wire.CreateRequest:
			path = q.Path
		case wire.CreateTTLRequest:
			path = q.Path
		case wire.PathVersionRequest:
			path = q.Path
		case wire.SetDataRequest:
			path = q.Path
		case wire.PathWatchRequest:
			path = q.Path
		}
		ops = append(ops, fmt.Sprintf("%v %q", op.Op, path))
	}
	if more := len(q.Ops) - len(ops); more > 0 {
		ops = append(ops, fmt.Sprintf("%d more", more))
	}
	if ops != nil {
		f.note(strings.Join(ops, ", "))
	}
}

// describeResults says which operation made a multi fail.
func describeResults(f *Entry, d *wire.Decoder) {
	var r wire.MultiResult
	for i := 0; r.Next(d); i++ {
		if r.Err != wire.ErrOK && r.Err != wire.ErrRuntimeInconsistency {
			f.note(fmt.Sprintf("op %d failed: err %d", i, r.Err))
			return
		}
	}
}

// plainWord quotes what a peer has chosen, unless it is nothing but letters, digits
// and the like.
func plainWord(s string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
