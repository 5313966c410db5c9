// Package fourletter queries ZooKeeper servers with the four-letter-word
// commands. Servers answer them in plain text on their client ports:
//
//	server := fourletter.Client{Addr: "zk1:2181"}
//	info, err := server.Srvr(ctx)
//	if err == nil {
//		fmt.Printf("%q %q %d\n", info.Version, info.Mode, info.Nodes)
//	}
//
// A [Client] holds no connection. Each command makes one, which the server ends
// with its answer. A server answers the commands that its setting
// 4lw.commands.whitelist names. Since 3.5.3 the default is srvr only. For any
// other the error is [ErrNotWhitelisted]. Anybody who can reach the port may
// send commands.
//
// The answers of servers from 3.4 to 3.9 are parsed into structs. Fields that a
// release does not report are zero, and unknown lines are skipped. Strings are as
// the server sent them, so quote them (%q) for a terminal or a log. Errors are
// quoted already. Servers print the id of a session as hexadecimal digits without
// a sign. In Go that is fmt.Sprintf("0x%x", uint64(id)).
package fourletter

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Client asks one server. It may be copied, and used by several goroutines.
type Client struct {
	// Addr is the server, host:port.
	Addr string
	// TLS is nil for plain TCP. Its ServerName defaults to Addr's host, without a zone.
	TLS *tls.Config
	// DialContext makes connections, and TLS runs over them; nil: those of a net.Dialer.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// MaxAnswer is the largest answer to accept, in bytes; zero: DefaultMaxAnswer.
	MaxAnswer int
}

const (
	// DefaultMaxAnswer is the largest answer that is accepted, in bytes. Wchc
	// and Wchp list all watches, and may need more.
	DefaultMaxAnswer = 16 << 20

	// DefaultTimeout bounds a command whose context has no deadline.
	DefaultTimeout = 10 * time.Second
)

// reason is an error that is compared, not read.
type reason string

func (r reason) Error() string { return string(r) }

// What can be wrong with an answer, as the Err of an *Error.
const (
	ErrNotWhitelisted = reason("the server's whitelist does not have the command")
	ErrNotServing     = reason("the server is not serving requests")
	ErrNoAnswer       = reason("the server closed the connection without an answer: it does not know the command, or takes no more connections")
	ErrTooLarge       = reason("the answer is too large")
	ErrMalformed      = reason("not an answer of a ZooKeeper server")
)

// Error says why a command failed. Err is one of the errors above, or an error
// of the network or the context.
type Error struct {
	Word string // the command
	Addr string
	Err  error
}

func (e *Error) Error() string { return "fourletter: " + e.Word + " " + e.Addr + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// malformed says what is wrong with an answer.
type malformed string

func (m malformed) Error() string        { return string(ErrMalformed) + ": " + string(m) }
func (m malformed) Is(target error) bool { return target == ErrMalformed }

// Send sends a command and returns the answer as it is. If ctx has no deadline it
// takes at most DefaultTimeout. A command that does not have four letters is not
// sent.
func (c Client) Send(ctx context.Context, word string) (string, error) {
	text, err := c.send(ctx, word)
	if err != nil {
		return "", &Error{Word: word, Addr: c.Addr, Err: err}
	}
	return text, nil
}

func (c Client) send(ctx context.Context, word string) (string, error) {
	if len(word) != 4 || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") != "" {
		return "", fmt.Errorf("%q is not of four lower-case letters", word)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	text, err := c.exchange(ctx, word)
	if err != nil && ctx.Err() != nil {
		return "", ctx.Err()
	}
	if deadline, _ := ctx.Deadline(); err != nil && !time.Now().Before(deadline) {
		return "", context.DeadlineExceeded // the network's own timer was first
	}
	if err != nil {
		return "", err
	}
	switch line := strings.TrimSpace(text); {
	case text == "":
		return "", ErrNoAnswer
	case line == word+" is not executed because it is not in the whitelist.":
		return "", ErrNotWhitelisted
	case line == "This ZooKeeper instance is not currently serving requests":
		return "", ErrNotServing
	}
	return text, nil
}

// exchange makes a connection, writes the command and reads to the end.
func (c Client) exchange(ctx context.Context, word string) (string, error) {
	dial := c.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", c.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if c.TLS != nil {
		conf := c.TLS.Clone()
		if conf.ServerName == "" {
			host, _, _ := net.SplitHostPort(c.Addr)
			conf.ServerName, _, _ = strings.Cut(host, "%") // a zone of IPv6 is in no certificate
		}
		secure := tls.Client(conn, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	limit := c.MaxAnswer
	if limit <= 0 {
		limit = DefaultMaxAnswer
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(io.LimitReader(conn, int64(limit)+1)); err != nil {
		return "", err
	}
	if text.Len() > limit {
		return "", ErrTooLarge
	}
	return text.String(), nil
}

// ask sends a command and reads its answer.
func ask[T any](ctx context.Context, c Client, word string, parse func(text string) (T, error)) (T, error) {
	var none T
	text, err := c.send(ctx, word)
	if err == nil {
		var answer T
		if answer, err = parse(text); err == nil {
			return answer, nil
		}
	}
	return none, &Error{Word: word, Addr: c.Addr, Err: err}
}

// say sends a command whose answer is known.
func (c Client) say(ctx context.Context, word, want string) error {
	_, err := ask(ctx, c, word, func(text string) (struct{}, error) {
		if strings.TrimSpace(text) != want {
			return struct{}{}, malformed(fmt.Sprintf("%.100q, want %q", text, want))
		}
		return struct{}{}, nil
	})
	return err
}

// Ruok asks whether the server's process is alive. A living process may still
// not serve.
func (c Client) Ruok(ctx context.Context) error { return c.say(ctx, "ruok", "imok") }

// Crst resets the statistics of the server's connections, which Cons reports.
func (c Client) Crst(ctx context.Context) error { return c.say(ctx, "crst", "Connection stats reset.") }

// Srst resets the server's statistics, which Srvr reports.
func (c Client) Srst(ctx context.Context) error { return c.say(ctx, "srst", "Server stats reset.") }

// Srvr asks for the server's version, mode and counters.
func (c Client) Srvr(ctx context.Context) (Server, error) { return ask(ctx, c, "srvr", parseSrvr) }

// Stat asks the same as Srvr, and who is connected.
func (c Client) Stat(ctx context.Context) (Stat, error) { return ask(ctx, c, "stat", parseStat) }

// Cons asks who is connected, with all details.
func (c Client) Cons(ctx context.Context) ([]Conn, error) { return ask(ctx, c, "cons", parseCons) }

// Mntr asks for the server's metrics.
func (c Client) Mntr(ctx context.Context) (Metrics, error) { return ask(ctx, c, "mntr", parseMntr) }

// Isro asks whether the server is read-only, because it is cut off from its
// quorum. While the server does not know that yet, the error is ErrNotServing.
func (c Client) Isro(ctx context.Context) (readOnly bool, err error) {
	return ask(ctx, c, "isro", parseIsro)
}

// Conf asks for the server's settings.
func (c Client) Conf(ctx context.Context) (Conf, error) { return ask(ctx, c, "conf", parseConf) }

// Envi asks for the server's environment: "java.version", "os.name", ….
func (c Client) Envi(ctx context.Context) (map[string]string, error) {
	return ask(ctx, c, "envi", parseEnvi)
}

// Dump asks for sessions and their ephemeral nodes. The leader's answer is complete;
// a follower of 3.4 does not list the sessions.
func (c Client) Dump(ctx context.Context) (Dump, error) { return ask(ctx, c, "dump", parseDump) }

// Wchs asks how many watches there are.
func (c Client) Wchs(ctx context.Context) (Watches, error) { return ask(ctx, c, "wchs", parseWchs) }

// Wchc asks for the watched paths of each session. That is expensive for a
// server with many watches.
func (c Client) Wchc(ctx context.Context) (map[int64][]string, error) {
	return ask(ctx, c, "wchc", parseWchc)
}

// Wchp asks for the sessions that watch each path. That is expensive for a
// server with many watches.
func (c Client) Wchp(ctx context.Context) (map[string][]int64, error) {
	return ask(ctx, c, "wchp", parseWchp)
}

// Dirs asks how large the server's files are. Servers since 3.5.1 support it.
func (c Client) Dirs(ctx context.Context) (Dirs, error) { return ask(ctx, c, "dirs", parseDirs) }

const (
	firstPause = 100 * time.Millisecond
	longPause  = 10 * time.Second
	askTimeout = 2 * time.Second // for one of several servers
)

// AwaitReadWrite asks the servers in turn, by isro, until one of them serves
// reads and writes. It returns the address of that one. It is for an application
// whose Session is read-only, which then redials. The other fields of c apply,
// but not its Addr. After a round without success it pauses, for 100 ms at first
// and twice as long each time, up to 10 s.
//
// It works in the caller's goroutine, and ends when ctx ends at the latest. Then
// the error matches ctx's, and says what each server answered last. A server must
// have isro in its whitelist. It has by default if read-only mode is enabled.
func (c Client) AwaitReadWrite(ctx context.Context, addrs []string) (string, error) {
	if len(addrs) == 0 {
		return "", errors.New("fourletter: no servers to wait for")
	}
	said := make([]error, len(addrs))
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		for i, addr := range addrs {
			c.Addr = addr
			asking, cancel := context.WithTimeout(ctx, askTimeout)
			readOnly, err := c.Isro(asking)
			cancel()
			switch {
			case err == nil && !readOnly:
				return addr, nil
			case err == nil:
				err = fmt.Errorf("%s is read-only", addr)
			case ctx.Err() != nil && said[i] != nil: // it was not let finish
				err = said[i]
			}
			said[i] = err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("fourletter: no server for reads and writes: %w", errors.Join(append([]error{err}, said...)...))
		}
	}
}
