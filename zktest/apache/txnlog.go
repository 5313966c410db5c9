package apache

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// Types of transactions that no client asks for by that name.
const (
	OpCreateSession   wire.Op = -10
	OpDeleteContainer wire.Op = 20
)

// UnknownVersion stands for a Version or ParentCversion that is missing in the
// text of a log.
const UnknownVersion int32 = -1

// Txn is a transaction of a server's log, or one operation of a multi. Such an
// operation has no header but its Op. Fields that do not belong to the Op are
// zero.
type Txn struct {
	Session int64
	Cxid    int32 // the xid of the client's request
	Zxid    int64
	Time    time.Time // when the leader made it, to the second
	// Op is create, create2, createContainer, createTTL, delete, OpDeleteContainer, setData, setACL,
	// reconfig, check, multi, OpCreateSession, closeSession or error.
	Op wire.Op

	Path           string
	Data           []byte // nil also where it is empty
	Version        int32  // that setData, setACL or reconfig made; of a check one more than it asked for
	Ephemeral      bool
	ParentCversion int32 // of the parent of a created znode, after that

	Err     int32         // of an error: a request that was refused, which used up a zxid
	Timeout time.Duration // of a created session
	Paths   []string      // ephemeral znodes that closeSession deleted (3.6+)
	Ops     []Txn         // of a multi. With an error among them none of them took effect
}

// Failed reports whether the transaction changed nothing: it is an error, or a
// multi with an error in it.
func (t *Txn) Failed() bool {
	return t.Op == wire.OpError || slices.ContainsFunc(t.Ops, func(o Txn) bool { return o.Op == wire.OpError })
}

// TxnLogError reports a line that TxnLogToolkit does not print.
type TxnLogError struct {
	Line   int // counted from 1
	Reason string
}

func (e *TxnLogError) Error() string {
	return fmt.Sprintf("transaction log, line %d: %s", e.Line, e.Reason)
}

// Txns returns the server's transactions, oldest first: the text of
// Server.TxnLog, parsed.
func (s *Server) Txns(ctx context.Context) ([]Txn, error) {
	text, err := s.TxnLog(ctx)
	if err != nil {
		return nil, err
	}
	return ParseTxnLog(text)
}

// ParseTxnLog parses what Server.TxnLog returns, of 3.6 and later releases. Its
// error is a *TxnLogError. The text does not show everything:
//
//   - A path outside of a multi ends at its first comma.
//   - Bytes that are not UTF-8 are replaced, in data and in the numbers of a
//     multi, which are printed as bytes. A version above 127 is UnknownVersion
//     there, unless its bytes happen to be UTF-8. A length above 127 is worked
//     out from what follows it. Where that is not certain, it is an error.
//   - Data that looks like the first line of a transaction ends the transaction
//     that it is in. The number of transactions, which is printed last, shows
//     that.
func ParseTxnLog(text string) ([]Txn, error) {
	p := txnParser{rest: text, line: 1}
	err := p.parse()
	if err != nil {
		return nil, err
	}
	return p.txns, nil
}

type txnParser struct {
	rest string
	line int
	open bool // in a file, whose end is not printed yet
	file int  // transactions in it
	txns []Txn
}

const (
	txnFile     = "ZooKeeper Transactional Log File with dbid "
	txnBadCRC   = "CRC ERROR - "
	txnTimeForm = "1/2/06, 3:04:05 PM MST"
)

var (
	txnHead = regexp.MustCompile(`(?m)^(?:CRC ERROR - )?(\d+/\d+/\d+, \d+:\d+:\d+[ \x{202f}][AP]M [^ \n]+) session 0x([0-9a-f]{1,16}) cxid 0x([0-9a-f]{1,16}) zxid 0x([0-9a-f]{1,16}) ([a-zA-Z0-9]+) `)
	txnEnd  = regexp.MustCompile(`^EOF reached after (\d+) txns\.\n?$`)
	txnACL  = regexp.MustCompile(`^\[(?:-?\d+,s\{'[^,}\n]*,'[^,}\n]*\}\n(?:, )?)*\]$`)
)

func (p *txnParser) fail(format string, args ...any) error {
	return &TxnLogError{p.line, fmt.Sprintf(format, args...)}
}

// parse takes the text apart: each piece goes on until the next begins.
func (p *txnParser) parse() error {
	for p.rest != "" {
		line, _, _ := strings.Cut(p.rest, "\n")
		switch {
		case strings.HasPrefix(line, txnFile):
			if p.open {
				return p.fail("a file begins before the end of the one before")
			}
			p.open, p.file = true, 0
			p.skip(len(line) + 1)
		case !p.open:
			return p.fail("%.80q stands in no file", line)
		case txnEnd.MatchString(line):
			if n := txnEnd.FindStringSubmatch(line)[1]; n != strconv.Itoa(p.file) {
				return p.fail("%d transactions were found, %s were printed", p.file, n)
			}
			p.open = false
			p.skip(len(line) + 1)
		default:
			if err := p.txn(); err != nil {
				return err
			}
		}
	}
	if p.open {
		return p.fail("the end of the file is missing")
	}
	return nil
}

func (p *txnParser) skip(n int) {
	n = min(n, len(p.rest))
	p.line += strings.Count(p.rest[:n], "\n")
	p.rest = p.rest[n:]
}

// txn takes one transaction.
func (p *txnParser) txn() error {
	head := txnHead.FindStringSubmatchIndex(p.rest)
	if head == nil || head[0] != 0 {
		line, _, _ := strings.Cut(p.rest, "\n")
		return p.fail("%.80q begins no transaction", line)
	}
	if strings.HasPrefix(p.rest, txnBadCRC) {
		return p.fail("a wrong check sum")
	}
	field := func(i int) string { return p.rest[head[2*i]:head[2*i+1]] }
	at, err := time.Parse(txnTimeForm, strings.ReplaceAll(field(1), "\u202f", " "))
	if err != nil {
		return p.fail("%v", err)
	}
	t := Txn{Time: at, Session: int64(hexNumber(field(2))), Cxid: int32(hexNumber(field(3))), Zxid: int64(hexNumber(field(4)))}
	var known bool
	if t.Op, known = txnOps[field(5)]; !known {
		return p.fail("a transaction of type %q", field(5))
	}
	end := len(p.rest)
	if next := nextPiece(p.rest[head[1]:]); next >= 0 {
		end = head[1] + next
	}
	if err := t.body(p.rest[head[1]:end]); err != nil {
		return p.fail("%s: %v", field(5), err)
	}
	p.skip(end)
	p.file++
	p.txns = append(p.txns, t)
	return nil
}

// nextPiece returns where the text goes on with something else, or -1.
func nextPiece(s string) int {
	for at := 0; ; {
		n := strings.IndexByte(s[at:], '\n')
		if n < 0 {
			return -1
		}
		at += n + 1
		if at < len(s) && (s[at] < '0' || s[at] > '9') && s[at] != 'C' && s[at] != 'E' && s[at] != 'Z' {
			continue
		}
		line, _, _ := strings.Cut(s[at:], "\n")
		if strings.HasPrefix(line, txnFile) || txnEnd.MatchString(line) {
			return at
		}
		if m := txnHead.FindStringIndex(line); m != nil && m[0] == 0 {
			return at
		}
	}
}

// hexNumber converts at most 16 digits.
func hexNumber(s string) uint64 {
	n, _ := strconv.ParseUint(s, 16, 64)
	return n
}

var txnOps = map[string]wire.Op{
	"create": wire.OpCreate, "create2": wire.OpCreate2, "createContainer": wire.OpCreateContainer,
	"createTTL": wire.OpCreateTTL, "createTtl": wire.OpCreateTTL,
	"delete": wire.OpDelete, "deleteContainer": OpDeleteContainer, "setData": wire.OpSetData, "setACL": wire.OpSetACL,
	"reconfig": wire.OpReconfig, "check": wire.OpCheck, "multi": wire.OpMulti,
	"createSession": OpCreateSession, "closeSession": wire.OpCloseSession, "error": wire.OpError,
}

// body parses what follows the type, with the end of the line.
func (t *Txn) body(s string) (err error) {
	if t.Op == wire.OpMulti {
		t.Ops, err = parseMulti(s)
		return err
	}
	s = strings.TrimSuffix(s, "\n")
	switch t.Op {
	case wire.OpCreate, wire.OpCreate2:
		var eph, cversion string
		s, cversion = cutLast(s, ",")
		s, eph = cutLast(s, ",")
		if eph != "true" && eph != "false" {
			return fmt.Errorf("%q says not whether it is ephemeral", eph)
		}
		t.Ephemeral = eph == "true"
		if err := number(&t.ParentCversion, cversion); err != nil {
			return err
		}
		return t.node(s)
	case wire.OpCreateContainer, wire.OpCreateTTL:
		if t.Op == wire.OpCreateTTL {
			s, _ = cutLast(s, ",") // the time to live
		}
		s, cversion := cutLast(s, ",")
		if err := number(&t.ParentCversion, cversion); err != nil {
			return err
		}
		return t.node(s)
	case wire.OpSetData, wire.OpReconfig:
		s, version := cutLast(s, ",")
		if err := number(&t.Version, version); err != nil {
			return err
		}
		return t.pathData(s)
	case wire.OpDelete, OpDeleteContainer:
		t.Path, err = csvString(s)
	case wire.OpSetACL:
		path, _, _ := strings.Cut(s, ",")
		if t.Path, err = csvString(path); err != nil {
			return err
		}
		_, version := cutLast(s, ",")
		err = number(&t.Version, version)
	case wire.OpError:
		err = number(&t.Err, s)
	case OpCreateSession:
		var ms int32
		err = number(&ms, s)
		t.Timeout = time.Duration(ms) * time.Millisecond
	case wire.OpCloseSession:
		t.Paths, err = csvList(s)
	default: // a check outside of a multi
		err = errors.New("it stands by itself")
	}
	return err
}

// node parses path, data and ACL.
func (t *Txn) node(s string) error {
	at := strings.LastIndex(s, ",[")
	if at < 0 || !txnACL.MatchString(s[at+1:]) {
		return errors.New("no ACL")
	}
	return t.pathData(s[:at])
}

func (t *Txn) pathData(s string) error {
	path, data, ok := strings.Cut(s, ",")
	if !ok || !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%.80q is no path with data", s)
	}
	t.Path = path
	if data != "" {
		t.Data = []byte(data)
	}
	return nil
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return "", s
	}
	return s[:at], s[at+len(sep):]
}

func number(n *int32, s string) error {
	x, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return fmt.Errorf("%.80q is no number", s)
	}
	*n = int32(x)
	return nil
}

var csvEscapes = strings.NewReplacer("%00", "\x00", "%0A", "\n", "%0D", "\r", "%2C", ",", "%7D", "}", "%25", "%")

// csvString parses a string in the CSV form of jute.
func csvString(s string) (string, error) {
	path, ok := strings.CutPrefix(s, "'/")
	if !ok || strings.ContainsAny(path, ",}\n") {
		return "", fmt.Errorf("%.80q is no path", s)
	}
	return csvEscapes.Replace("/" + path), nil
}

func csvList(s string) ([]string, error) {
	if s == "" { // before 3.6, or a session without ephemerals
		return nil, nil
	}
	list, ok := strings.CutPrefix(s, "v{")
	list, end := strings.CutSuffix(list, "}")
	if !ok || !end {
		return nil, fmt.Errorf("%.80q is no list of paths", s)
	}
	var paths []string
	for item := range strings.SplitSeq(list, ",") {
		if list == "" {
			break
		}
		path, err := csvString(item)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
