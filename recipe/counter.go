package recipe

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Counter is a number that many programs change. Each Add counts once, by Once.
// One goroutine at a time may use a Counter. Do not copy it after its first use.
//
// The first Add creates a marker below Path: an ephemeral znode, which stays until
// the session ends. So keep a Counter, and do not make a new one for each Add.
type Counter struct {
	Path   string // a persistent znode, which is made when it is missing
	Format Format
	ACL    zk.ACL // nil: zk.ACLOpen

	once    Once
	plain   bool // no marker may be made
	pending *addition
}

// addition is an Add whose answer is missing.
type addition struct {
	delta, sum int64
	op         zk.SetOp
}

// Format says how a Counter writes its number.
type Format uint8

const (
	Int64 Format = iota // 8 bytes: Curator's DistributedAtomicLong
	Int32               // 4 bytes: Curator's SharedCount, and kazoo's Counter with support_curator
	Text                // decimal digits: kazoo's Counter
)

func (f Format) encode(n int64) ([]byte, error) {
	switch f {
	case Int64:
		return binary.BigEndian.AppendUint64(nil, uint64(n)), nil
	case Int32:
		if n < math.MinInt32 || n > math.MaxInt32 {
			return nil, badArgument("%d does not fit into an Int32", n)
		}
		return binary.BigEndian.AppendUint32(nil, uint32(int32(n))), nil
	}
	return strconv.AppendInt(nil, n, 10), nil
}

// decode reads a number. Nothing at all is 0, as it is for Curator and kazoo.
func (f Format) decode(path string, data []byte) (int64, error) {
	switch {
	case len(data) == 0:
		return 0, nil
	case f == Int64 && len(data) == 8:
		return int64(binary.BigEndian.Uint64(data)), nil
	case f == Int32 && len(data) == 4:
		return int64(int32(binary.BigEndian.Uint32(data))), nil
	case f == Text:
		if n, err := strconv.ParseInt(string(data), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, badArgument("the data of %s, %d bytes, is no number in this Format", path, len(data))
}

func (c *Counter) check() error {
	if err := checkDir(c.Path); err != nil {
		return err
	}
	if c.Format > Text {
		return badArgument("unknown Format %d", c.Format)
	}
	return nil
}

// Add adds delta and returns the sum. A sum that does not fit the Format is
// zk.ErrBadArguments, and nothing is written.
//
// After an error that matches zk.ErrLost, zk.ErrConnection or zk.ErrMoved, make
// the same Add with the successor: delta is counted once in all. An Add of
// another delta gives up the first one, whether that was counted or not.
// ErrUnknown: the session expired while an answer was missing. If the ACL
// permits no marker below the counter, a lost Add cannot be resolved, and the
// repeated Add may count twice.
func (c *Counter) Add(ctx context.Context, s *zk.Session, delta int64) (int64, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	if _, err := begin(ctx, s); err != nil {
		return 0, err
	}
	if c.once.Path == "" {
		c.once.Path, c.once.ACL = c.Path+"/_once_"+newGUID(), c.ACL
	}
	if c.pending != nil && c.pending.delta != delta {
		c.once.forget()
		c.pending = nil
	}
	for tries := 0; ; tries++ {
		if tries > 3 { // others are quick: not all at the same time
			sleep(ctx, rand.N(time.Duration(min(tries, 20))*time.Millisecond))
		}
		if c.pending == nil {
			next, err := c.read(ctx, s, delta)
			if err != nil {
				return 0, err
			}
			c.pending = next
		}
		sum := c.pending.sum
		err := c.write(ctx, s)
		if c.once.pending == nil {
			c.pending = nil
		}
		switch {
		case err == nil:
			return sum, nil
		case code(err) != zk.ErrVersion:
			return 0, err
		}
	}
}

// read prepares an addition to the number as it is now.
func (c *Counter) read(ctx context.Context, s *zk.Session, delta int64) (*addition, error) {
	for {
		data, st, err := s.Get(ctx, c.Path, nil)
		if code(err) == zk.ErrNoNode {
			if err = c.make(ctx, s); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		n, err := c.Format.decode(c.Path, data)
		if err != nil {
			return nil, err
		}
		if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
			return nil, badArgument("%d and %d are more than an int64", n, delta)
		}
		data, err = c.Format.encode(n + delta)
		if err != nil {
			return nil, err
		}
		return &addition{delta, n + delta, zk.SetOp{Path: c.Path, Data: data, Version: st.Version}}, nil
	}
}

// make makes the counter, at 0.
func (c *Counter) make(ctx context.Context, s *zk.Session) error {
	dir, _ := split(c.Path)
	if err := mkdirAll(ctx, s, dir, openACL(c.ACL)); err != nil {
		return err
	}
	zero, _ := c.Format.encode(0)
	_, err := s.Create(ctx, c.Path, zero, zk.Persistent, openACL(c.ACL))
	if code(err) == zk.ErrExists || code(err) == zk.ErrNoNode && dir != "/" {
		return nil
	}
	return err
}

// write executes the addition.
func (c *Counter) write(ctx context.Context, s *zk.Session) error {
	if !c.plain {
		_, _, err := c.once.Do(ctx, s, c.pending.op)
		var mark *markError
		if !errors.As(err, &mark) || code(err) != zk.ErrNoAuth && code(err) != zk.ErrNoChildrenForEphemerals {
			return err
		}
		c.plain = true
	}
	_, err := s.Set(ctx, c.Path, c.pending.op.Data, c.pending.op.Version)
	return err
}

// Get returns the number. It is 0 if the counter does not exist yet.
func (c *Counter) Get(ctx context.Context, s *zk.Session) (int64, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	if _, err := begin(ctx, s); err != nil {
		return 0, err
	}
	data, _, err := s.Get(ctx, c.Path, nil)
	if code(err) == zk.ErrNoNode {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return c.Format.decode(c.Path, data)
}
