package zktest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// Version is the ZooKeeper release series that a server behaves like. It stands
// for the newest release of the series.
type Version int

// Release series.
const (
	V34 Version = iota + 4
	V35
	V36
	V37
	V38
	V39
)

// String returns "3.9" and so on.
func (v Version) String() string { return fmt.Sprintf("3.%d", int(v)) }

// Options are the settings of an ensemble. The zero value is good for most
// tests.
type Options struct {
	// Version is the release series; zero: V39.
	Version Version
	// InMemory needs no TCP: connections are [Pipe]s from DialContext, which work inside a
	// testing/synctest bubble.
	InMemory bool
	// Listen is the address of the first member, such as 127.0.0.1:2181 or [::1]:0. It must be
	// loopback. The others take the ports after it. Empty, or port 0: free ports.
	Listen string
	// TickTime is the unit of the other times of a server; zero: 500 ms.
	TickTime time.Duration

	MinSessionTimeout time.Duration // the shortest that is granted; zero: 2 ticks
	MaxSessionTimeout time.Duration // the longest; zero: 20 ticks

	// TLS is laid over all connections; nil: plain TCP. If it asks clients for a
	// certificate, they get an identity of the scheme x509.
	TLS            *tls.Config
	MaxFrame       int           // the longest frame from a client, in bytes (jute.maxbuffer); zero: 1048575
	MaxClientCnxns int           // connections per client address and member; zero: no limit
	ReapInterval   time.Duration // from a container's last child to its deletion; zero: 100 ms
	NoTTL          bool          // extendedTypesEnabled=false
	Reconfig       bool          // reconfigEnabled=true
	// Majority makes members serve only while a majority of all members is running and connected,
	// as real ones do.
	Majority bool
	// ReadOnlyMode makes a member without a majority serve read-only clients (readonlymode.enabled);
	// else it serves nobody.
	ReadOnlyMode bool
	// NoLocalSessions makes a read-only member answer a new session with an error header, as real
	// ones do by default.
	NoLocalSessions bool
	// FourLetterWords are the commands that are answered, separated by commas
	// (4lw.commands.whitelist); empty: "*", all of them.
	FourLetterWords string
	// EnforceQuota enforces hard limits of quotas, from 3.7 on. Without it limits change nothing.
	EnforceQuota bool
	// Super is the "user:password" of the superuser; empty: there is none.
	Super string
	// SuperDigest is Super as "user:digest", as real servers take it
	// (DigestAuthenticationProvider.superDigest). Only one of the two may be set.
	SuperDigest string

	// SASL are users and their passwords for DIGEST-MD5 and ACLs of the scheme sasl; nil: no SASL.
	SASL map[string]string
	// RequireSASL executes nothing before a client has authenticated by SASL
	// (sessionRequireClientSASLAuth); since 3.5.
	RequireSASL bool

	// NoLeaks fails the test of NewServer or NewEnsemble if a client has left a connection open at
	// its end.
	NoLeaks bool
	// FrameLog is how many frames [Ensemble.Frames] remembers; zero: 65536, negative: none.
	FrameLog int
	// Raw keeps the bytes of each frame in that log, passwords and credentials among them.
	Raw bool
	// Logger gets a record of each connection that ends; nil: none. Its handler must not
	// call the ensemble, which waits for it.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Version == 0 {
		o.Version = V39
	}
	if o.TickTime == 0 {
		o.TickTime = 500 * time.Millisecond
	}
	if o.MinSessionTimeout == 0 {
		o.MinSessionTimeout = 2 * o.TickTime
	}
	if o.MaxSessionTimeout == 0 {
		o.MaxSessionTimeout = 20 * o.TickTime
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = 0xfffff
	}
	if o.ReapInterval == 0 {
		o.ReapInterval = 100 * time.Millisecond
	}
	if o.FourLetterWords == "" {
		o.FourLetterWords = "*"
	}
	if o.FrameLog == 0 {
		o.FrameLog = 65536
	}
	return o
}

// check looks for what no server would start with. The defaults are in place.
func (o Options) check() error {
	for _, field := range []struct {
		name  string
		value time.Duration
	}{
		{"TickTime", o.TickTime}, {"MinSessionTimeout", o.MinSessionTimeout}, {"MaxSessionTimeout", o.MaxSessionTimeout}, {"ReapInterval", o.ReapInterval},
	} {
		if field.value < 0 {
			return fmt.Errorf("options: %s is %v", field.name, field.value)
		}
	}
	switch {
	case o.MaxFrame < 0:
		return fmt.Errorf("options: MaxFrame is %d", o.MaxFrame)
	case o.MaxClientCnxns < 0:
		return fmt.Errorf("options: MaxClientCnxns is %d", o.MaxClientCnxns)
	case o.MinSessionTimeout > o.MaxSessionTimeout:
		return fmt.Errorf("options: MinSessionTimeout, %v, is above MaxSessionTimeout, %v, which is 20 ticks of %v unless it is set",
			o.MinSessionTimeout, o.MaxSessionTimeout, o.TickTime)
	case o.Super != "" && o.SuperDigest != "":
		return errors.New("options: Super and SuperDigest are both set")
	case o.SuperDigest != "" && !data.IsDigest(o.SuperDigest):
		return fmt.Errorf("options: SuperDigest is %q, which is not user:digest", o.SuperDigest)
	case o.InMemory && o.Listen != "":
		return errors.New("options: Listen is set, and InMemory")
	case o.Version == V34 && o.TLS != nil:
		return errors.New("3.4 has no TLS")
	}
	return nil
}

const defaultTraceMask = 0o462
