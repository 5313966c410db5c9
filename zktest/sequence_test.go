package zktest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"math"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// nearTheEnd is what /q counts from in the tests of where its numbers end.
const nearTheEnd = math.MaxInt32 - 1

// checkSequenceEnd says which names a client gets around the last number.
func checkSequenceEnd(t *testing.T, v Version, s *zk.Session) {
	t.Helper()
	create := func() string {
		path, err := s.Create(t.Context(), "/q/n-", nil, zk.EphemeralSequential, zk.ACLOpen)
		if errors.Is(err, zk.ErrExists) {
			return "exists"
		}
		assert.NilError(t, err)
		return path
	}
	want := []string{"/q/n-2147483646", "/q/n-2147483647", "/q/n--2147483648", "/q/n--2147483647"}
	if v >= V36 { // which count no further
		want = []string{"/q/n-2147483646", "/q/n-2147483647", "exists", "exists"}
	}
	assert.DeepEqual(t, []string{create(), create(), create(), create()}, want)
}

func seedSequence(t *testing.T, s *zk.Session) {
	t.Helper()
	for _, path := range []string{"/q", "/q/seed"} {
		_, err := s.Create(t.Context(), path, nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
}

func TestSequenceEnd(t *testing.T) {
	for version := V34; version <= V39; version++ {
		e := NewServer(t, Options{Version: version})
		s := dialZK(t, e.Addrs())
		seedSequence(t, s)
		e.SetSequence("/q", nearTheEnd)
		checkSequenceEnd(t, version, s)
	}
}

// A real server starts from a transaction log that says it has counted so far.
func TestSequenceEndOfRealServers(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release})
			s := dialZK(t, real.Addrs())
			seedSequence(t, s)
			assert.NilError(t, s.Close())
			server := real.Member(0)
			assert.NilError(t, server.Kill())
			logs, err := filepath.Glob(filepath.Join(server.DataDir(), "version-2", "log.*"))
			assert.NilError(t, err)
			changed := 0
			for _, name := range logs {
				log, err := os.ReadFile(name)
				assert.NilError(t, err)
				if setCreates(t, log, "/q/seed", nearTheEnd) {
					changed++
					assert.NilError(t, os.WriteFile(name, log, 0o644))
				}
			}
			assert.Equal(t, changed, 1)
			assert.NilError(t, server.Start())
			assert.NilError(t, real.WaitServing(t.Context()))
			checkSequenceEnd(t, parityVersions[release], dialZK(t, real.Addrs()))
		})
	}
}

// setCreates changes the number that the creation of path gave its parent
// (CreateTxn.parentCVersion), and says whether it is in the log (FileTxnLog).
func setCreates(t *testing.T, log []byte, path string, creates uint32) bool {
	t.Helper()
	const header, txnHeader = 16, 32
	for at := header; at+12 <= len(log); {
		size := int(binary.BigEndian.Uint32(log[at+8:]))
		if size == 0 {
			return false // the rest is reserved
		}
		entry := log[at+12 : at+12+size]
		start := append(binary.BigEndian.AppendUint32(nil, uint32(len(path))), path...)
		if bytes.HasPrefix(entry[txnHeader:], start) {
			d := wire.NewDecoder(entry[txnHeader+len(start):])
			d.Buffer() // data
			for range d.Int32() {
				d.Int32()
				d.Buffer() // scheme
				d.Buffer() // id
			}
			d.Bool() // ephemeral
			assert.NilError(t, d.Err())
			binary.BigEndian.PutUint32(d.Rest(), creates)
			binary.BigEndian.PutUint64(log[at:], uint64(adler32.Checksum(entry)))
			return true
		}
		at += 12 + size + 1
	}
	return false
}
