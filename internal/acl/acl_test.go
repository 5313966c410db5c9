package acl

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"
)

func TestLetters(t *testing.T) {
	for perms := range int32(32) {
		got, ok := Perms(Print(perms))
		assert.Assert(t, ok)
		assert.Equal(t, got, perms)
	}
	assert.Equal(t, Print(31), Letters)
	assert.Equal(t, Print(64), "Permission(64)")
	_, ok := Perms("rx")
	assert.Assert(t, !ok)
}

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"world:anyone:r":              "[1 world anyone]",
		"ip:10.0.0.0/8:cdrwa,a:b:r":   "[31 ip 10.0.0.0/8][1 a b]",
		"x509:CN=a,O=b:rw":            "[3 x509 CN=a,O=b]",
		"digest:u:h:":                 "[0 digest u:h]",
		"":                            "rest ",
		"world:anyone:r,":             "[1 world anyone]rest ",
		"world:anyone":                "rest world:anyone",
		":anyone:r":                   "rest :anyone:r",
		"world:anyone:rx,world:any:r": "[1 world anyone:rx,world:any]",
	} {
		got := ""
		rest, ok := Split(text, func(perms int32, scheme, id string) { got += fmt.Sprint([]any{perms, scheme, id}) })
		if !ok {
			got += "rest " + rest
		}
		assert.Equal(t, got, want, text)
	}
}

// The id is the one of ZooKeeper's own DigestAuthenticationProvider.
func TestDigestID(t *testing.T) {
	assert.Equal(t, DigestID("super", "test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
}
