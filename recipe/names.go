package recipe

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// Layout is how a recipe names the znodes that it creates. A recipe reads the
// names of both layouts.
type Layout uint8

const (
	// Curator is the layout of Apache Curator, which go-zookeeper reads too.
	Curator Layout = iota
	// Kazoo is the layout of kazoo. A client of Curator sorts these names after its
	// own, and does not wait for them: in a directory with such a client, use
	// Curator. That is not checked, because a name does not show whether Curator or
	// this package has created it.
	Kazoo
)

// kind is what a contender wants.
type kind uint8

const (
	lockKind kind = iota
	readKind
	writeKind
	latchKind
	leaseKind // a semaphore's, which is no contender
	ownKind   // a znode of a fixed name
	partyKind
	memberKind // of a double barrier
	takenKind  // of a queue
	plainKind  // of CreateProtected
)

// markers stand before the number in the names of contenders. All but those of
// readers exclude everybody.
var markers = []struct {
	text   string
	shared bool
}{
	{"lock-", false},
	{"latch-", false},
	{"__READ__", true},
	{"__WRIT__", false},
	{"__lock__", false},
	{"__rlock__", true},
}

// prefix returns a contender's name up to its number.
func (l Layout) prefix(k kind, guid string) string {
	if l == Kazoo {
		switch k {
		case readKind:
			return guid + "__rlock__"
		case leaseKind, memberKind:
			return guid
		case partyKind:
			return guid + "__party__"
		}
		return guid + "__lock__"
	}
	switch k {
	case readKind:
		return protected(guid, "__READ__")
	case writeKind:
		return protected(guid, "__WRIT__")
	case latchKind:
		return protected(guid, "latch-")
	case leaseKind:
		return protected(guid, "lease-")
	case memberKind:
		return dashed(guid)
	}
	return protected(guid, "lock-")
}

// protected returns a name of Curator's protected mode.
func protected(guid, name string) string { return "_c_" + dashed(guid) + "-" + name }

// dashed returns a GUID as a UUID is written.
func dashed(guid string) string {
	return guid[:8] + "-" + guid[8:12] + "-" + guid[12:16] + "-" + guid[16:20] + "-" + guid[20:]
}

// newGUID returns 32 random hexadecimal digits, those of a UUID of version 4.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b[:])
}

func checkGUID(guid string) error {
	if guid == "" {
		return nil
	}
	if _, err := hex.DecodeString(guid); err != nil || len(guid) != 32 || strings.ToLower(guid) != guid {
		return badArgument("GUID %q is not 32 hexadecimal digits", guid)
	}
	return nil
}

// entry is a contender in a list.
type entry struct {
	name   string
	number int32
	shared bool
	czxid  int64 // only where the numbers do not give the order
}

// parseEntry recognizes the name of a contender.
func parseEntry(name string) (entry, bool) {
	for _, m := range markers {
		at := strings.LastIndex(name, m.text)
		if at < 0 {
			continue
		}
		if n, ok := parseNumber(name[at+len(m.text):]); ok {
			return entry{name: name, number: n, shared: m.shared}, true
		}
	}
	return entry{}, false
}

// parseNumber reads a sequence number as servers write it: ten characters, or
// eleven of the most negative ones.
func parseNumber(text string) (int32, bool) {
	n, err := strconv.ParseInt(text, 10, 32)
	padded := len(text) == 10 || len(text) == 11 && n <= -1e9
	if err != nil || !padded || text[0] == '+' || text[0] == '-' && n >= 0 {
		return 0, false
	}
	return int32(n), true
}

// lastNumbers is where the numbers of a directory end: servers before 3.6 go on
// with negative ones, later ones repeat the greatest. From here on the order is
// that of the transactions which created the znodes.
const lastNumbers = 1<<31 - 1 - 1<<20

// inOrder returns the contenders among names in the order in which they are
// served.
func inOrder(ctx context.Context, s *zk.Session, dir string, names []string) ([]entry, error) {
	var line []entry
	end := false
	for _, name := range names {
		if e, ok := parseEntry(name); ok {
			line = append(line, e)
			end = end || e.number < 0 || e.number > lastNumbers
		}
	}
	slices.SortFunc(line, func(a, b entry) int { return cmp.Compare(a.number, b.number) })
	for i := 1; i < len(line) && !end; i++ {
		end = line[i].number == line[i-1].number
	}
	if !end {
		return line, nil
	}
	return byCreation(ctx, s, dir, line)
}

// byCreation orders contenders by their czxid. Those that are gone are left out.
func byCreation(ctx context.Context, s *zk.Session, dir string, line []entry) ([]entry, error) {
	ops := make([]zk.Op, len(line))
	for i, e := range line {
		ops[i] = zk.ExistsOp{Path: join(dir, e.name)}
	}
	res, err := s.Batch(ctx, ops...)
	left := line[:0]
	for i := range res {
		switch {
		case res[i].Err == nil:
			line[i].czxid = res[i].Stat.Czxid
			left = append(left, line[i])
		case code(res[i].Err) != zk.ErrNoNode:
			return nil, err
		}
	}
	if res == nil && err != nil {
		return nil, err
	}
	slices.SortStableFunc(left, func(a, b entry) int { return cmp.Compare(a.czxid, b.czxid) }) // those of one Multi: by number
	return left, nil
}

// blocker returns the contender that the one at i has to wait for: of a reader
// the nearest before it that excludes, of others the nearest; -1: none.
func blocker(line []entry, i int) int {
	shared := line[i].shared
	for i--; i >= 0; i-- {
		if !shared || !line[i].shared {
			return i
		}
	}
	return -1
}

// join returns the path of a child.
func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

// split returns the directory and the name of a path.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

// checkDir refuses what cannot be the directory of a recipe. What else may be
// wrong with a path, zk refuses before it sends anything.
func checkDir(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("recipe: %w: it is empty", zk.ErrBadPath)
	case path == "/":
		return fmt.Errorf("recipe: %w: a recipe needs a directory of its own, not /", zk.ErrBadPath)
	case path[0] != '/' || strings.HasSuffix(path, "/"):
		return fmt.Errorf("recipe: %w: %q", zk.ErrBadPath, path)
	}
	return nil
}

// checkName refuses what cannot be the name of a child.
func checkName(what, name string) error {
	if name == "" || strings.Contains(name, "/") || zk.CheckPath("/"+name) != nil {
		return badArgument("%s %q cannot be a name", what, name)
	}
	return nil
}

// fullPath is a path as the server knows it.
func fullPath(s *zk.Session, path string) string {
	if path == "/" {
		return s.Chroot()
	}
	return s.Chroot() + path
}

func openACL(acl zk.ACL) zk.ACL {
	if acl == nil {
		return zk.ACLOpen
	}
	return acl
}
