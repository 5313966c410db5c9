// Package zpath has the rules of ZooKeeper's paths, and puts chroots before them.
package zpath

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Check applies the rules of the server's PathUtils and returns what is wrong with a
// path; "": nothing. A sequential create may end in a slash.
func Check(path string, sequential bool) (problem string) {
	switch {
	case path == "":
		return "it is empty"
	case path[0] != '/':
		return "it does not start with /"
	case path == "/" && !sequential, plain(path):
		return ""
	}
	return rules(path, sequential)
}

const (
	ones  = 0x0101010101010101 // in each byte of a word
	highs = 0x80 * ones
)

// plain reports whether all bytes of a path are printable ASCII, and behind each slash
// stands neither a slash nor a dot nor the end: then it breaks no rule. It looks at eight
// bytes at a time, for every call checks its path.
func plain(path string) bool {
	n := len(path)
	if path[n-1] == '/' {
		return false
	}
	if n < 8 {
		x := uint64('a') * ones
		for i := n - 1; i >= 0; i-- {
			x = x<<8 | uint64(path[i])
		}
		bad, _ := oddities(x, 1)
		return bad == 0
	}
	bad, before := uint64(0), uint64(1) // before: zero where a slash stands before the word
	for i := 0; i+8 <= n; i += 8 {
		var odd uint64
		odd, before = oddities(word(path[i:i+8]), before)
		bad |= odd
	}
	if n%8 > 0 { // the last eight, of which the first were looked at
		odd, _ := oddities(word(path[n-8:]), 1)
		bad |= odd
	}
	return bad == 0
}

// oddities has bits where a byte of a word is not printable ASCII, or where a slash or dot
// follows a slash. before and last are zero if the byte before it, or its last, is a slash.
func oddities(x, before uint64) (odd, last uint64) {
	notPrintable := (x - ' '*ones) | (x + ones) | x
	slash := x ^ '/'*ones         // a zero byte for each slash
	dots := (x | ones) ^ '/'*ones // for each slash or dot, which differ in the lowest bit
	pair := dots | slash<<8 | before
	return (notPrintable | (pair-ones)&^pair) & highs, slash >> 56
}

// word makes a word of eight bytes.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// rules applies the rules byte by byte.
func rules(path string, sequential bool) (problem string) {
	start := 1 // of the name under way
	for i := 1; i < len(path); i++ {
		c := path[i]
		switch {
		case c >= ' ' && c < 0x7f && c != '/':
			continue
		case c == '/':
			if i == start {
				return "an empty name at byte " + strconv.Itoa(i)
			}
			if isRelative(path[start:i]) {
				return "a relative name at byte " + strconv.Itoa(start)
			}
			start = i + 1
			continue
		case c < utf8.RuneSelf:
			return "a control character at byte " + strconv.Itoa(i)
		}
		r, n := utf8.DecodeRuneInString(path[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return "invalid UTF-8 at byte " + strconv.Itoa(i)
		case r <= 0x9f, r >= 0xd800 && r <= 0xf8ff, r >= 0xfff0:
			return "an illegal character at byte " + strconv.Itoa(i)
		}
		i += n - 1
	}
	switch { // a counter is appended to the last name of a sequential create
	case sequential:
	case start == len(path):
		return "it ends with /"
	case isRelative(path[start:]):
		return "a relative name at byte " + strconv.Itoa(start)
	}
	return ""
}

func isRelative(name string) bool { return name == "." || name == ".." }

// Join puts the chroot before a path.
func Join(chroot, path string) string {
	switch {
	case chroot == "":
		return path
	case path == "/":
		return chroot
	}
	return chroot + path
}

// Server returns a path as the server knows it. A sequential create below the root
// appends to the slash, which a chroot does not end in.
func Server(chroot, path string, sequential bool) string {
	if sequential && path == "/" {
		return chroot + "/"
	}
	return Join(chroot, path)
}

// Strip returns the path as the application knows it. One that is not below the
// chroot is left as it is.
func Strip(chroot, path string) string {
	if chroot == "" || !strings.HasPrefix(path, chroot) {
		return path
	}
	switch rest := path[len(chroot):]; {
	case rest == "":
		return "/"
	case rest[0] == '/':
		return rest
	}
	return path
}
