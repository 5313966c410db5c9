package wire_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
)

// flow is one frame of a transcript, with its length in front.
type flow struct {
	number     int
	fromServer bool
	label      string // "connect", "notification", "getData" (a request), "reply getData"
	frame      []byte
}

var flowHead = regexp.MustCompile(`^>>> Flow (\d+) \((client to server|server to client)\): (\w+|reply \w+)$`)

// parseTranscript reads text like that of crypto/tls: a head for each frame,
// and its bytes as encoding/hex.Dump prints them. Lines that begin with # are
// comments.
func parseTranscript(text string) ([]flow, error) {
	var flows []flow
	var dump strings.Builder
	// finish checks the dump of the last flow by printing its bytes again.
	finish := func() error {
		if len(flows) == 0 {
			return nil
		}
		f := &flows[len(flows)-1]
		if got := hex.Dump(f.frame); got != dump.String() {
			return fmt.Errorf("flow %d: dump reads\n%sbut its bytes print as\n%s", f.number, dump.String(), got)
		}
		dump.Reset()
		if len(f.frame) < 4 || wire.FrameLen(f.frame) != len(f.frame)-4 {
			return fmt.Errorf("flow %d: not one whole frame", f.number)
		}
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, ">>>"):
			m := flowHead.FindStringSubmatch(line)
			if m == nil {
				return nil, fmt.Errorf("line %d: bad head %q", i+1, line)
			}
			if err := finish(); err != nil {
				return nil, err
			}
			f := flow{fromServer: m[2] == "server to client", label: m[3]}
			fmt.Sscan(m[1], &f.number)
			flows = append(flows, f)
		case len(flows) == 0:
			return nil, fmt.Errorf("line %d: bytes before the first head", i+1)
		default:
			// "00000000  00 01 ...  |..|"; finish sees to the rest.
			digits, _, _ := strings.Cut(line, "|")
			_, digits, _ = strings.Cut(digits, " ")
			b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
			if err != nil {
				return nil, fmt.Errorf("line %d: %v", i+1, err)
			}
			f := &flows[len(flows)-1]
			f.frame = append(f.frame, b...)
			dump.WriteString(line + "\n")
		}
	}
	return flows, finish()
}

// opNamed finds a request type by the name that Op.String gives it.
func opNamed(name string) (wire.Op, bool) {
	for op := range samples.Requests {
		if op.String() == name {
			return op, true
		}
	}
	return 0, false
}

// recode decodes the frame with the records that its label asks for, and
// returns them encoded again.
func recode(f flow) ([]byte, error) {
	d := wire.NewDecoder(f.frame[4:])
	out := wire.BeginFrame(nil)
	read := func(r wire.Record) error {
		if r == nil {
			return nil
		}
		c := newOf(r)
		c.Decode(&d)
		out = c.Append(out)
		if d.Err() != nil {
			return fmt.Errorf("%s: %v", typeName(r), d.Err())
		}
		return nil
	}
	var err error
	name, isReply := strings.CutPrefix(f.label, "reply ")
	switch {
	case f.label == "connect" && f.fromServer:
		err = read(wire.ConnectResponse{})
	case f.label == "connect":
		err = read(wire.ConnectRequest{})
	case f.fromServer != (isReply || f.label == "notification"):
		return nil, fmt.Errorf("%q in the wrong direction", f.label)
	case f.fromServer:
		var h wire.ReplyHeader
		h.Decode(&d)
		out = h.Append(out)
		op, known := opNamed(name)
		switch {
		case f.label == "notification":
			if h.Xid != wire.XidNotification {
				return nil, fmt.Errorf("notification with xid %d", h.Xid)
			}
			err = read(wire.WatcherEvent{})
		case !known:
			return nil, fmt.Errorf("unknown reply %q", name)
		case h.Err == wire.ErrOK || d.Len() > 0: // behind an error is nothing, but for sasl
			err = read(samples.Replies[op])
		}
	default:
		var h wire.RequestHeader
		h.Decode(&d)
		out = h.Append(out)
		if h.Op.String() != f.label {
			return nil, fmt.Errorf("request is of type %v", h.Op)
		}
		err = read(samples.Requests[h.Op])
	}
	if err == nil && d.Err() != nil {
		err = d.Err()
	}
	if err == nil && d.Len() > 0 {
		err = fmt.Errorf("%d bytes left over: % x", d.Len(), d.Rest())
	}
	wire.EndFrame(out, 0)
	return out, err
}

// checkTranscript decodes and encodes all frames of a file, and adds the types
// of its requests to ops.
func checkTranscript(t *testing.T, path string, ops map[string]bool) {
	text, err := os.ReadFile(path)
	assert.NilError(t, err)
	flows, err := parseTranscript(string(text))
	assert.NilError(t, err)
	assert.Assert(t, len(flows) > 0, "no flows")
	for _, f := range flows {
		got, err := recode(f)
		assert.Check(t, err == nil, "flow %d, %s: %v", f.number, f.label, err)
		if err == nil {
			assert.Check(t, string(got) == string(f.frame), "flow %d, %s: received\n%sencoded\n%s", f.number, f.label, hex.Dump(f.frame), hex.Dump(got))
		}
		if !f.fromServer && f.label != "connect" {
			ops[f.label] = true
		}
	}
}

// The transcripts in ../testdata/golden were recorded from real servers.
func TestRecordedTranscripts(t *testing.T) {
	const dir = "../testdata/golden"
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		t.Skip("no ", dir)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	assert.NilError(t, err)
	assert.Assert(t, len(files) > 0, "%s is empty", dir)
	ops := map[string]bool{}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) { checkTranscript(t, path, ops) })
	}
	assert.Assert(t, len(ops) >= 20, "only %d request types: %v", len(ops), ops)
}

func TestHandmadeTranscript(t *testing.T) {
	ops := map[string]bool{}
	checkTranscript(t, "testdata/handmade.txt", ops)
	assert.DeepEqual(t, ops, map[string]bool{"getData": true, "exists": true, "ping": true, "closeSession": true})
}

func TestBadTranscripts(t *testing.T) {
	const ping = "00000000  00 00 00 08 ff ff ff fe  00 00 00 0b              |............|\n"
	for _, test := range []struct{ text, err string }{
		{">>> Flow 1 (client to server): ping\n" + ping, ""},
		{ping, "line 1: bytes before the first head"},
		{">>> Flow 1 (server): ping\n", "line 1: bad head"},
		{">>> Flow 1 (client to server): ping\n", "not one whole frame"},
		{">>> Flow 1 (client to server): ping\n" + strings.Replace(ping, "08", "09", 1), "not one whole frame"},
		{">>> Flow 1 (client to server): ping\n" + ping + ping, "print as"},
		{">>> Flow 1 (client to server): ping\n" + strings.Replace(ping, "|....", "|.x..", 1), "print as"},
		{">>> Flow 1 (client to server): ping\n00000000  0g\n", "line 2: encoding/hex"},
		{">>> Flow 1 (client to server): sync\n" + ping, "request is of type ping"},
		{">>> Flow 1 (server to client): ping\n" + ping, `"ping" in the wrong direction`},
		{">>> Flow 1 (client to server): reply ping\n" + ping, `"reply ping" in the wrong direction`},
		{">>> Flow 1 (client to server): connect\n" + ping, "ConnectRequest: malformed record at byte 4"},
		{">>> Flow 1 (server to client): reply ping\n" + ping, "malformed record at byte 0: reply header cut short"},
	} {
		flows, err := parseTranscript(test.text)
		if err == nil {
			_, err = recode(flows[0])
		}
		if test.err == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, test.err)
	}
}
