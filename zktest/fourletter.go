package zktest

import (
	"fmt"
	"io"
)

// fourLetterWord reads a connection's first four bytes. If they are a command
// it returns that, else they stay for the first frame.
func (f *frameReader) fourLetterWord() (string, error) {
	for f.w < 4 && !f.limit.reached() {
		if err := f.fill(); err != nil {
			if err == io.EOF {
				return "", errNoFrame
			}
			return "", err
		}
	}
	if f.w < 4 {
		return "", nil
	}
	switch word := string(f.buf[:4]); word {
	case "ruok", "srvr", "isro":
		return word, nil
	}
	return "", nil
}

// fourLetter answers a command in plain text, after which the connection ends.
func (c *conn) fourLetter(word string) {
	e, m := c.ens, c.member
	e.mu.Lock()
	defer e.mu.Unlock()
	role := "standalone"
	switch {
	case m.readOnly:
		role = "read-only"
	case len(e.members) > 1 && m.index == 0:
		role = "leader"
	case len(e.members) > 1:
		role = "follower"
	}
	switch word {
	case "ruok":
		c.out = append(c.out, "imok"...)
	case "isro":
		answer := "rw"
		if m.readOnly {
			answer = "ro"
		}
		c.out = append(c.out, answer...)
	case "srvr":
		c.out = fmt.Appendf(c.out, "Zookeeper version: %s.0-zktest\nConnections: %d\nOutstanding: 0\nZxid: %#x\nMode: %s\nNode count: %d\n",
			e.opts.Version, len(m.conns), m.tree.zxid, role, len(m.tree.nodes)-1)
	}
	c.end("four-letter word " + word)
	c.write()
}
