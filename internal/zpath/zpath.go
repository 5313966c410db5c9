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
	case path == "/" && !sequential:
		return ""
	}
	start := 1 // of the name under way
	for i := 1; ; i++ {
		for i < len(path) && plainBytes[path[i]] {
			i++
		}
		if i >= len(path) {
			break
		}
		c := path[i]
		switch {
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

// plainBytes are those of a path that are right wherever they stand.
var plainBytes = func() (plain [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		plain[c] = c != '/'
	}
	return plain
}()

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
