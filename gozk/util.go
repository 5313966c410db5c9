package zk

import (
	"log"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	root "github.com/seed-9f8420c6/zk"
)

// DefaultLogger is the standard library's log.
var DefaultLogger Logger = log.Default()

// WorldACL gives permissions to everybody.
func WorldACL(perms int32) []ACL { return []ACL{{perms, "world", "anyone"}} }

// AuthACL gives permissions to whoever creates the znode, by all credentials of the connection.
func AuthACL(perms int32) []ACL { return []ACL{{perms, "auth", ""}} }

// DigestACL gives permissions to whoever presents user:password with
// AddAuth("digest", …).
func DigestACL(perms int32, user, password string) []ACL {
	return fromACL(root.ACLDigest(root.Permission(perms), user, password))
}

// FormatServers returns the addresses, with DefaultPort where there is no port.
func FormatServers(servers []string) []string {
	out := slices.Clone(servers)
	for i, addr := range out {
		if !strings.Contains(addr, ":") {
			out[i] += ":" + strconv.Itoa(DefaultPort)
		}
	}
	return out
}

func shuffle(list []string) {
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// validatePath checks a path; to a sequential one a number will be appended.
func validatePath(path string, sequential bool) error {
	if sequential && strings.HasSuffix(path, "/") {
		path += "1"
	}
	if root.CheckPath(path) != nil {
		return ErrInvalidPath
	}
	return nil
}

func toACL(list []ACL) root.ACL {
	out := make(root.ACL, len(list))
	for i, a := range list {
		out[i] = root.Access{Perms: root.Permission(a.Perms), Scheme: a.Scheme, ID: a.ID}
	}
	return out
}

func fromACL(list root.ACL) []ACL {
	if list == nil {
		return nil
	}
	out := make([]ACL, len(list))
	for i, a := range list {
		out[i] = ACL{int32(a.Perms), a.Scheme, a.ID}
	}
	return out
}
