package apache

import (
	"errors"
	"reflect"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// parseMulti parses the operations of a multi: the type's name, a colon and
// the record as it is on the disk, but for what is not UTF-8.
func parseMulti(s string) ([]Txn, error) {
	if s == "" || s == "\n" {
		return nil, nil
	}
	m := multiParser{budget: 1 << 14}
	m.ops(s, nil)
	switch {
	case m.budget < 0:
		return nil, errors.New("too many ways to read it")
	case m.ways == 0:
		return nil, errors.New("its operations make no sense")
	case m.ways > 1:
		return nil, errors.New("there is more than one way to read it")
	}
	return m.found, nil
}

// multiParser tries all ways to read a text in which some numbers are blurred.
type multiParser struct {
	budget int // of steps
	ways   int // found so far
	found  []Txn
}

// ops reads one operation and all behind it, which is the end where a line ends.
func (m *multiParser) ops(s string, before []Txn) {
	if m.budget--; m.budget < 0 || m.ways > 1 {
		return
	}
	name, rest, ok := strings.Cut(s, ":")
	op, known := txnOps[name]
	if !ok || !known || op == wire.OpMulti {
		return
	}
	m.record(Txn{Op: op}, blurred{rest: rest}, func(t Txn, r blurred) {
		all := append(before[:len(before):len(before)], t)
		if r.rest == "" || r.rest == "\n" { // a record that ends with a 10 has no other end of the line
			if m.ways == 0 || !reflect.DeepEqual(all, m.found) {
				m.ways++
			}
			m.found = all
			return
		}
		if next, ok := strings.CutPrefix(r.rest, ";"); ok {
			m.ops(next, all)
		}
	})
}

// record reads the record of one operation and hands every way to do so to next.
func (m *multiParser) record(t Txn, r blurred, next func(Txn, blurred)) {
	// field reads a string or a buffer, whose length may be blurred.
	field := func(r blurred, got func(string, blurred)) {
		n, known := r.int32()
		if r.bad {
			return
		}
		if known || n == -1 {
			if s, ok := r.bytes(int(max(n, 0))); ok && n >= -1 {
				got(s, r)
			}
			return
		}
		if n < 0 {
			return // more than the last byte is blurred
		}
		for i := n + 0x80; i <= n+0xff; i++ {
			if m.budget--; m.budget < 0 {
				return
			}
			try := r
			if s, ok := try.bytes(int(i)); ok {
				got(s, try)
			}
		}
	}
	path := func(got func(blurred)) {
		field(r, func(s string, r blurred) {
			if strings.HasPrefix(s, "/") {
				t.Path = s
				got(r)
			}
		})
	}
	data := func(r blurred, got func(blurred)) {
		field(r, func(s string, r blurred) {
			t.Data = nil
			if s != "" {
				t.Data = []byte(s)
			}
			got(r)
		})
	}
	version := func(r blurred) {
		if t.Version = r.version(); !r.bad {
			next(t, r)
		}
	}
	var acl func(r blurred, n int, got func(blurred))
	acl = func(r blurred, n int, got func(blurred)) {
		if n == 0 {
			got(r)
			return
		}
		if r.int32(); r.bad { // permissions
			return
		}
		field(r, func(_ string, r blurred) {
			field(r, func(_ string, r blurred) { acl(r, n-1, got) })
		})
	}
	switch t.Op {
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		path(func(r blurred) {
			data(r, func(r blurred) {
				n, known := r.int32()
				if r.bad || !known || int(n) > len(r.rest) {
					return
				}
				acl(r, int(max(n, 0)), func(r blurred) {
					if t.Op == wire.OpCreate || t.Op == wire.OpCreate2 {
						b, _ := r.byte()
						t.Ephemeral = b != 0
					}
					t.ParentCversion = r.version()
					if t.Op == wire.OpCreateTTL {
						r.int32()
						r.int32()
					}
					if !r.bad {
						next(t, r)
					}
				})
			})
		})
	case wire.OpSetData, wire.OpReconfig:
		path(func(r blurred) { data(r, version) })
	case wire.OpCheck, wire.OpSetACL:
		path(version)
	case wire.OpDelete, OpDeleteContainer:
		path(func(r blurred) { next(t, r) })
	case wire.OpError:
		// Its code is blurred. A member that got the multi when others had applied
		// it logs the operations ahead of the refused one as errors, with their records.
		code := r
		if code.int32(); !code.bad {
			next(t, code)
		}
		for _, op := range []wire.Op{wire.OpSetData, wire.OpCreate, wire.OpDelete, wire.OpCheck, wire.OpCreateContainer, wire.OpCreateTTL} {
			m.record(Txn{Op: op}, r, func(_ Txn, r blurred) { next(t, r) })
		}
	}
}

// blurred reads jute from a text in which every byte that is not UTF-8 has
// become U+FFFD.
type blurred struct {
	rest string
	bad  bool // there was not enough of it
}

const replacement = "\ufffd"

// byte returns a byte, or false if all that is known is that it is above 127.
func (r *blurred) byte() (byte, bool) {
	if rest, ok := strings.CutPrefix(r.rest, replacement); ok {
		r.rest = rest
		return 0, false
	}
	if r.rest == "" {
		r.bad = true
		return 0, true
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b, true
}

// int32 returns a number and true; or, if it is blurred, false and the number
// without its last byte, or below -1 where more than that is blurred. A number
// of which nothing is known is taken for -1, the null of jute.
func (r *blurred) int32() (n int32, known bool) {
	blur := 0
	for i := range 4 {
		b, ok := r.byte()
		n = n<<8 | int32(b)
		if !ok {
			blur |= 1 << i
		}
	}
	switch blur {
	case 0:
		return n, true
	case 1 << 3:
		return n &^ 0xff, false
	case 1<<4 - 1:
		return -1, false
	}
	return -2, false
}

// version returns a number that counts up from 0, or UnknownVersion.
func (r *blurred) version() int32 {
	n, known := r.int32()
	if !known {
		return UnknownVersion
	}
	return n
}

// bytes returns n bytes.
func (r *blurred) bytes(n int) (string, bool) {
	if n > len(r.rest) {
		return "", false
	}
	from := r.rest
	for range n {
		r.byte()
	}
	return from[:len(from)-len(r.rest)], !r.bad
}
