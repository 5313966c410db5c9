// Package acl reads and prints access control lists as zkCli does.
package acl

import (
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// Letters are those of the permissions, in zkCli's order.
const Letters = "cdrwa"

var permOf = map[rune]int32{'c': wire.PermCreate, 'd': wire.PermDelete, 'r': wire.PermRead, 'w': wire.PermWrite, 'a': wire.PermAdmin}

// Print prints permissions as letters.
func Print(perms int32) string {
	var b strings.Builder
	for _, letter := range Letters {
		if perms&permOf[letter] != 0 {
			b.WriteRune(letter)
			perms &^= permOf[letter]
		}
	}
	if perms != 0 {
		return "Permission(" + strconv.Itoa(int(perms)) + ")"
	}
	return b.String()
}

// Perms reads letters, in any order.
func Perms(text string) (perms int32, ok bool) {
	for _, letter := range text {
		one, ok := permOf[letter]
		if !ok {
			return 0, false
		}
		perms |= one
	}
	return perms, true
}

// Split calls f for each entry of a list: scheme:id:permissions, separated by commas. A
// comma within an id does not separate: the part after it does not end in
// permissions. !ok: rest is no entry.
func Split(text string, f func(perms int32, scheme, id string)) (rest string, ok bool) {
	entry := ""
	for part := range strings.SplitSeq(text, ",") {
		entry += part
		scheme, more, _ := strings.Cut(entry, ":")
		if i := strings.LastIndexByte(more, ':'); i >= 0 && scheme != "" {
			if perms, ok := Perms(more[i+1:]); ok {
				f(perms, scheme, more[:i])
				entry = ""
				continue
			}
		}
		entry += ","
	}
	return strings.TrimSuffix(entry, ","), entry == ""
}

// DigestID returns the id of the scheme digest for a user: a hash (SHA-1), no password.
func DigestID(user, password string) string {
	sum := sha1.Sum([]byte(user + ":" + password))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}
