package zktest

import (
	"unicode/utf16"
	"unicode/utf8"
)

// validPath applies the rules of PathUtils.validatePath.
func (v Version) validPath(path string) bool {
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
		var c rune = '/'
		size := 1
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

// javaString encodes a string as the server does, one UTF-16 unit at a time:
// code points beyond U+FFFF become two surrogates of three bytes each.
func javaString(s string) string {
	for i := range len(s) {
		if s[i] >= 0xf0 {
			return cesu8(s)
		}
	}
	return s
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
