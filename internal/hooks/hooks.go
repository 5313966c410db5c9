// Package hooks joins functions that an application has given into one, which calls them
// in order.
package hooks

import (
	"context"
	"slices"
)

// Two returns a function that calls all that are not nil; nil: there is none. So do
// Three, Four and Five.
func Two[A, B any](list []func(A, B)) func(A, B) {
	list = slices.DeleteFunc(list, func(f func(A, B)) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(a A, b B) {
		for _, f := range list {
			f(a, b)
		}
	}
}

// Three is Two for functions of three arguments.
func Three[A, B, C any](list []func(A, B, C)) func(A, B, C) {
	list = slices.DeleteFunc(list, func(f func(A, B, C)) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(a A, b B, c C) {
		for _, f := range list {
			f(a, b, c)
		}
	}
}

// Four is Two for functions of four arguments.
func Four[A, B, C, D any](list []func(A, B, C, D)) func(A, B, C, D) {
	list = slices.DeleteFunc(list, func(f func(A, B, C, D)) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(a A, b B, c C, d D) {
		for _, f := range list {
			f(a, b, c, d)
		}
	}
}

// Five is Two for functions of five arguments.
func Five[A, B, C, D, E any](list []func(A, B, C, D, E)) func(A, B, C, D, E) {
	list = slices.DeleteFunc(list, func(f func(A, B, C, D, E)) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(a A, b B, c C, d D, e E) {
		for _, f := range list {
			f(a, b, c, d, e)
		}
	}
}

// Start joins functions whose context goes from one to the next; nil: there is none.
func Start[A any](list []func(context.Context, A) context.Context) func(context.Context, A) context.Context {
	list = slices.DeleteFunc(list, func(f func(context.Context, A) context.Context) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(ctx context.Context, a A) context.Context {
		for _, f := range list {
			ctx = Or(f(ctx, a), ctx)
		}
		return ctx
	}
}

// Start2 is Start for functions of two more arguments.
func Start2[A, B any](list []func(context.Context, A, B) context.Context) func(context.Context, A, B) context.Context {
	list = slices.DeleteFunc(list, func(f func(context.Context, A, B) context.Context) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(ctx context.Context, a A, b B) context.Context {
		for _, f := range list {
			ctx = Or(f(ctx, a, b), ctx)
		}
		return ctx
	}
}

// Start3 is Start for functions of three more arguments.
func Start3[A, B, C any](list []func(context.Context, A, B, C) context.Context) func(context.Context, A, B, C) context.Context {
	list = slices.DeleteFunc(list, func(f func(context.Context, A, B, C) context.Context) bool { return f == nil })
	if len(list) == 0 {
		return nil
	}
	return func(ctx context.Context, a A, b B, c C) context.Context {
		for _, f := range list {
			ctx = Or(f(ctx, a, b, c), ctx)
		}
		return ctx
	}
}

// Or returns the context that a hook returned, or else the one that it got.
func Or(returned, got context.Context) context.Context {
	if returned == nil {
		return got
	}
	return returned
}
