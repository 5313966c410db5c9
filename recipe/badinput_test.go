package recipe_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// idle is work of a Partition that does nothing.
func idle(context.Context, string, *recipe.Hold) error { return nil }

// everyCall is all of the package that takes a Session, with a path below which
// it works; "": a good one.
func everyCall(s *zk.Session) map[string]func(ctx context.Context, path string) error {
	or := func(path, good string) string {
		if path == "" {
			return good
		}
		return strings.TrimPrefix(path, "=")
	}
	hold := func(f func() (*recipe.Hold, error)) error {
		_, err := f()
		return err
	}
	return map[string]func(ctx context.Context, path string) error{
		"Lock.Acquire": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: or(p, "/x")}).Acquire(ctx, s) })
		},
		"Lock.TryAcquire": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: or(p, "/x")}).TryAcquire(ctx, s) })
		},
		"Lock.Contenders": func(ctx context.Context, p string) error {
			_, err := (&recipe.Lock{Path: or(p, "/x")}).Contenders(ctx, s)
			return err
		},
		"RWLock.AcquireRead": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.RWLock{Path: or(p, "/x")}).AcquireRead(ctx, s) })
		},
		"RWLock.AcquireWrite": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.RWLock{Path: or(p, "/x")}).AcquireWrite(ctx, s) })
		},
		"RWLock.TryAcquireRead": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.RWLock{Path: or(p, "/x")}).TryAcquireRead(ctx, s) })
		},
		"RWLock.TryAcquireWrite": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.RWLock{Path: or(p, "/x")}).TryAcquireWrite(ctx, s) })
		},
		"RWLock.Contenders": func(ctx context.Context, p string) error {
			_, err := (&recipe.RWLock{Path: or(p, "/x")}).Contenders(ctx, s)
			return err
		},
		"Semaphore.Acquire": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.Semaphore{Path: or(p, "/x"), Max: 1}).Acquire(ctx, s) })
		},
		"Semaphore.TryAcquire": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) {
				return (&recipe.Semaphore{Path: or(p, "/x"), Max: 1, Layout: recipe.Kazoo}).TryAcquire(ctx, s)
			})
		},
		"Semaphore.Contenders": func(ctx context.Context, p string) error {
			_, err := (&recipe.Semaphore{Path: or(p, "/x"), Max: 1}).Contenders(ctx, s)
			return err
		},
		"Election.Campaign": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.Election{Path: or(p, "/x")}).Campaign(ctx, s) })
		},
		"Election.Leader": func(ctx context.Context, p string) error {
			_, err := (&recipe.Election{Path: or(p, "/x")}).Leader(ctx, s)
			return err
		},
		"Election.Observe": func(ctx context.Context, p string) error {
			for _, err := range (&recipe.Election{Path: or(p, "/x")}).Observe(ctx, s, recipe.Contender{}) {
				return err
			}
			return nil
		},
		"Own": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return recipe.Own(ctx, s, or(p, "/x"), nil, nil) })
		},
		"Group.Join": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) { return (&recipe.Group{Path: or(p, "/x")}).Join(ctx, s, "a", nil) })
		},
		"Group.Members": func(ctx context.Context, p string) error {
			_, err := (&recipe.Group{Path: or(p, "/x")}).Members(ctx, s)
			return err
		},
		"Barrier.Set":  func(ctx context.Context, p string) error { return (&recipe.Barrier{Path: or(p, "/x")}).Set(ctx, s) },
		"Barrier.Lift": func(ctx context.Context, p string) error { return (&recipe.Barrier{Path: or(p, "/x")}).Lift(ctx, s) },
		"Barrier.Wait": func(ctx context.Context, p string) error { return (&recipe.Barrier{Path: or(p, "/x")}).Wait(ctx, s) },
		"DoubleBarrier.Enter": func(ctx context.Context, p string) error {
			return hold(func() (*recipe.Hold, error) {
				return (&recipe.DoubleBarrier{Path: or(p, "/x"), Members: 1}).Enter(ctx, s)
			})
		},
		"Once.Do": func(ctx context.Context, p string) error {
			_, _, err := (&recipe.Once{Path: or(p, "/x")}).Do(ctx, s, zk.CheckOp{Path: "/"})
			return err
		},
		"Counter.Add": func(ctx context.Context, p string) error {
			_, err := (&recipe.Counter{Path: or(p, "/x")}).Add(ctx, s, 1)
			return err
		},
		"Counter.Get": func(ctx context.Context, p string) error {
			_, err := (&recipe.Counter{Path: or(p, "/x")}).Get(ctx, s)
			return err
		},
		"Partition.Run": func(ctx context.Context, p string) error {
			return (&recipe.Partition{Path: or(p, "/x"), ID: "a"}).Run(ctx, s, idle)
		},
		"Queue.Put": func(ctx context.Context, p string) error {
			return (&recipe.Queue{Path: or(p, "/x")}).Put(ctx, s, nil, 1)
		},
		"Queue.Take": func(ctx context.Context, p string) error {
			_, err := (&recipe.Queue{Path: or(p, "/x")}).Take(ctx, s)
			return err
		},
		"CreateProtected": func(ctx context.Context, p string) error {
			_, err := recipe.CreateProtected(ctx, s, or(p, "/x"), nil, nil)
			return err
		},
	}
}

// TestEveryCall finds what takes a Session in the source.
func TestEveryCall(t *testing.T) {
	listed := everyCall(nil)
	for _, name := range []string{"DoubleBarrier.Leave", "Hold.Multi", "Hold.SetData", "Item.Done"} { // of what is held: it has the path
		listed[name] = nil
	}
	files, err := filepath.Glob("*.go")
	assert.NilError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		assert.NilError(t, err)
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || !slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
				return types.ExprString(p.Type) == "*zk.Session"
			}) {
				continue
			}
			call := f.Name.Name
			if f.Recv != nil {
				call = strings.TrimPrefix(types.ExprString(f.Recv.List[0].Type), "*") + "." + call
			}
			_, ok = listed[call]
			assert.Check(t, ok, "everyCall has no %s", call)
			delete(listed, call)
		}
	}
	assert.Check(t, len(listed) == 0, "not in the source: %v", slices.Sorted(maps.Keys(listed)))
}

// What is wrong is a typed error, and nothing is sent.
func TestBadInput(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		quiet := func(name string, err error, want ...error) {
			t.Helper()
			match := false
			for _, w := range want {
				match = match || errors.Is(err, w)
			}
			assert.Check(t, match, "%s: %v", name, err)
			if ops := r.requests(s.ID()); len(ops) > 0 {
				t.Errorf("%s: sent %v", name, ops)
				r.ForgetFrames()
			}
		}
		for name, f := range everyCall(s) {
			for _, path := range []string{"=", "x", "/x//y", "/x/../y", "/x\x00", "/a\xffb", "relative/x", "//"} {
				if name == "CreateProtected" && path == "//" {
					continue
				}
				quiet(name+" "+path, f(bg, path), zk.ErrBadPath)
			}
			if name != "CreateProtected" {
				quiet(name+" /", f(bg, "/"), zk.ErrBadPath)
				quiet(name+" /x/", f(bg, "/x/"), zk.ErrBadPath)
			}
			quiet(name+" ended", f(ended, ""), context.Canceled)
		}
		quiet("Max", func() error { _, err := (&recipe.Semaphore{Path: "/x"}).Acquire(bg, s); return err }(), zk.ErrBadArguments)
		quiet("Max", func() error { _, err := (&recipe.Semaphore{Path: "/x", Max: -1}).TryAcquire(bg, s); return err }(), zk.ErrBadArguments)
		quiet("Max", func() error { _, err := (&recipe.Semaphore{Path: "/x", Max: -1}).Contenders(bg, s); return err }(), zk.ErrBadArguments)
		quiet("Members", func() error { _, err := (&recipe.DoubleBarrier{Path: "/x"}).Enter(bg, s); return err }(), zk.ErrBadArguments)
		quiet("Members", func() error { _, err := (&recipe.DoubleBarrier{Path: "/x", Members: -1}).Enter(bg, s); return err }(), zk.ErrBadArguments)
		quiet("Leave", (&recipe.DoubleBarrier{Path: "/x", Members: -1}).Leave(bg, s, nil), zk.ErrBadArguments)
		quiet("Leave", (&recipe.DoubleBarrier{Members: 1}).Leave(bg, s, nil), zk.ErrBadPath)
		for _, id := range []string{"", "a/b", ".", "..", "a\x00b"} {
			quiet("id", func() error { _, err := (&recipe.Group{Path: "/x"}).Join(bg, s, id, nil); return err }(), zk.ErrBadArguments, zk.ErrBadPath)
			quiet("ID", (&recipe.Partition{Path: "/x", ID: id}).Run(bg, s, idle), zk.ErrBadArguments, zk.ErrBadPath)
			quiet("item", (&recipe.Partition{Path: "/x", ID: "a", Items: []string{id}}).Run(bg, s, idle), zk.ErrBadArguments, zk.ErrBadPath)
		}
		quiet("items", (&recipe.Partition{Path: "/x", ID: "a", Items: []string{"i", "i"}}).Run(bg, s, idle), zk.ErrBadArguments)
		quiet("work", (&recipe.Partition{Path: "/x", ID: "a", Items: []string{"i"}}).Run(bg, s, nil), zk.ErrBadArguments)
		for _, guid := range []string{"x", someGUID[1:], someGUID + "0", strings.ToUpper(someGUID), "0123456789abcdeg0123456789abcdef"} {
			quiet("GUID", func() error { _, err := (&recipe.Lock{Path: "/x", GUID: guid}).Acquire(bg, s); return err }(), zk.ErrBadArguments)
			quiet("GUID", func() error { _, err := (&recipe.RWLock{Path: "/x", GUID: guid}).TryAcquireRead(bg, s); return err }(), zk.ErrBadArguments)
			quiet("GUID", func() error { _, err := (&recipe.Election{Path: "/x", GUID: guid}).Campaign(bg, s); return err }(), zk.ErrBadArguments)
		}
		quiet("Layout", func() error { _, err := (&recipe.Lock{Path: "/x", Layout: 9}).Acquire(bg, s); return err }(), zk.ErrBadArguments)
		quiet("Layout", func() error { _, err := (&recipe.Group{Path: "/x", Layout: 9}).Join(bg, s, "a", nil); return err }(), zk.ErrBadArguments)
		quiet("Format", func() error { _, err := (&recipe.Counter{Path: "/x", Format: 9}).Add(bg, s, 1); return err }(), zk.ErrBadArguments)
		for _, priority := range []int{-1, 1000} {
			quiet("priority", (&recipe.Queue{Path: "/x"}).Put(bg, s, nil, priority), zk.ErrBadArguments)
		}
		big := make([]byte, zk.DefaultMaxRequest+1)
		quiet("Data", func() error { _, err := (&recipe.Lock{Path: "/x", Data: big}).Acquire(bg, s); return err }(), zk.ErrTooLarge)
		quiet("data", func() error { _, err := recipe.Own(bg, s, "/x", big, nil); return err }(), zk.ErrTooLarge)
		h := r.hold(s, "/x/l")
		other, err := (&recipe.DoubleBarrier{Path: "/x/b", Members: 1}).Enter(bg, s)
		assert.NilError(t, err)
		synctest.Wait()
		r.ForgetFrames()
		quiet("Leave of a lock", (&recipe.DoubleBarrier{Path: "/x/l", Members: 1}).Leave(bg, s, h), zk.ErrBadArguments)
		quiet("Leave of another", (&recipe.DoubleBarrier{Path: "/x/c", Members: 1}).Leave(bg, s, other), zk.ErrBadArguments)
		assert.NilError(t, errors.Join(h.Err(), other.Err(), s.Close()))
		r.ForgetFrames()
		for name, f := range everyCall(s) {
			quiet(name+" closed", f(bg, ""), zk.ErrClosed)
		}
	})
}
