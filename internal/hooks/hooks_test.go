package hooks

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"
)

func TestJoined(t *testing.T) {
	assert.Assert(t, Two[int, int](nil) == nil)
	assert.Assert(t, Two([]func(int, int){nil}) == nil)
	assert.Assert(t, Three([]func(int, int, int){nil}) == nil)
	assert.Assert(t, Four([]func(int, int, int, int){nil}) == nil)
	assert.Assert(t, Five([]func(int, int, int, int, int){nil}) == nil)
	var got []int
	add := func(list ...int) { got = append(got, list...) }
	Two([]func(int, int){func(a, b int) { add(1, a, b) }, nil, func(a, b int) { add(2, a, b) }})(3, 4)
	Three([]func(int, int, int){func(a, b, c int) { add(a, b, c) }, func(a, b, c int) { add(c) }})(5, 6, 7)
	Four([]func(int, int, int, int){nil, func(a, b, c, d int) { add(a, b, c, d) }})(1, 2, 3, 4)
	Five([]func(int, int, int, int, int){func(a, b, c, d, e int) { add(a, b, c, d, e) }})(1, 2, 3, 4, 5)
	assert.DeepEqual(t, got, []int{1, 3, 4, 2, 3, 4, 5, 6, 7, 7, 1, 2, 3, 4, 1, 2, 3, 4, 5})
}

func TestContextsGoOn(t *testing.T) {
	type key struct{}
	add := func(ctx context.Context, s string) context.Context {
		was, _ := ctx.Value(key{}).(string)
		return context.WithValue(ctx, key{}, was+s)
	}
	none := func(context.Context, string) context.Context { return nil }
	assert.Assert(t, Start([]func(context.Context, string) context.Context{nil}) == nil)
	assert.Assert(t, Start2([]func(context.Context, string, int) context.Context{nil}) == nil)
	ctx := Start([]func(context.Context, string) context.Context{add, none, nil, add})(t.Context(), "a")
	assert.Equal(t, ctx.Value(key{}), "aa")
	ctx = Start2([]func(context.Context, string, int) context.Context{
		func(ctx context.Context, s string, _ int) context.Context { return add(ctx, s) },
	})(ctx, "b", 1)
	assert.Equal(t, ctx.Value(key{}), "aab")
	assert.Assert(t, Start3([]func(context.Context, string, int, error) context.Context{nil}) == nil)
	ctx = Start3([]func(context.Context, string, int, error) context.Context{
		func(ctx context.Context, s string, _ int, _ error) context.Context { return add(ctx, s) },
		nil,
		func(context.Context, string, int, error) context.Context { return nil },
	})(ctx, "c", 1, nil)
	assert.Equal(t, ctx.Value(key{}), "aabc")
}
