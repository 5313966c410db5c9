package data

import (
	"unicode/utf16"
	"unicode/utf8"
)

// ValidPath applies the rules of PathUtils.validatePath.
func (v Version) ValidPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	if path == "/" {
		return true
	}
	if path[len(path)-1] == '/' {
		return false
	}
	start := 1 // of the component that c belongs to
	for i := 1; i <= len(path); {
		c, size := '/', 1
		if i < len(path) {
			c, size = rune(path[i]), 1
			if c >= utf8.RuneSelf {
				c, size = utf8.DecodeRuneInString(path[i:])
			}
		}
		switch {
		case c == '/':
			if part := path[start:i]; part == "" || part == "." || part == ".." {
				return false
			}
			start = i + 1
		case v == V34 && (c == 0x1f || c == 0x7f || c == 0x9f || c == 0xf8ff || c == 0xfff0 || c == 0xffff):
			// The bounds of illegal ranges were legal once.
		case c <= 0x1f, c >= 0x7f && c <= 0x9f, c >= 0xd800 && c <= 0xf8ff, c >= 0xfff0:
			// Beyond U+FFFF a path is illegal too: the server looks at UTF-16 units.
			return false
		}
		i += size
	}
	return true
}

// JavaText decodes a string as the server does, which replaces what is not
// UTF-8 by U+FFFD: not byte by byte, but in its own way.
func JavaText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b []byte
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			size = malformed(s)
		}
		b = utf8.AppendRune(b, r)
		s = s[size:]
	}
	return string(b)
}

// malformed returns how many bytes at the beginning of s, which is not UTF-8,
// Java replaces by one character.
func malformed(s string) int {
	follows := func(i int) bool { return i < len(s) && s[i]&0xc0 == 0x80 }
	switch first := s[0]; {
	case first&0xf0 == 0xe0:
		switch {
		case len(s) == 1:
			return 1
		case !follows(1), first == 0xe0 && s[1]&0xe0 == 0x80:
			return 1
		case len(s) > 2 && follows(2): // a surrogate
			return 3
		}
		return 2
	case first&0xf8 == 0xf0:
		switch {
		case len(s) == 1, first > 0xf4:
			return 1
		case !follows(1), first == 0xf0 && (s[1] < 0x90 || s[1] > 0xbf), first == 0xf4 && s[1]&0xf0 != 0x80:
			return 1
		case len(s) == 2 || !follows(2):
			return 2
		}
		return 3
	}
	return 1
}

// JavaString encodes a string as the server does, one UTF-16 unit at a time:
// code points beyond U+FFFF become two surrogates of three bytes each.
func JavaString(s string) string {
	for i := range len(s) {
		if s[i] >= 0xf0 {
			return cesu8(s)
		}
	}
	return s
}

// javaLen is the length of a string in UTF-16 units.
func javaLen(s string) int {
	n := len(s)
	for i := range len(s) {
		switch b := s[i]; {
		case b&0xc0 == 0x80:
			n--
		case b >= 0xf0:
			n++
		}
	}
	return n
}

func cesu8(s string) string {
	var b []byte
	for _, c := range s {
		if c <= 0xffff {
			b = utf8.AppendRune(b, c)
			continue
		}
		high, low := utf16.EncodeRune(c)
		for _, u := range []rune{high, low} {
			b = append(b, 0xe0|byte(u>>12), 0x80|byte(u>>6)&0x3f, 0x80|byte(u)&0x3f)
		}
	}
	return string(b)
}
