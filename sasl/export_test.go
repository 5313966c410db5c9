package sasl

// DigestMD5As is DigestMD5 for another service than ZooKeeper, and with a nonce
// that is known.
func DigestMD5As(user, password, uri, cnonce string) Mechanism {
	return &digestMD5{user: user, password: func() string { return password }, uri: uri, nonce: func() string { return cnonce }}
}
