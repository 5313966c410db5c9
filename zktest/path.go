package zktest

import "unicode/utf8"

// validPath applies the rules of PathUtils.validatePath.
func validPath(path string) bool {
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
		case c <= 0x1f, c >= 0x7f && c <= 0x9f, c >= 0xd800 && c <= 0xf8ff, c >= 0xfff0:
			// Beyond U+FFFF a path is illegal too: the server looks at UTF-16 units.
			return false
		}
		i += size
	}
	return true
}
