package otel

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/metrics"
)

// expected reports whether an error is an answer that a program may well expect.
func expected(err error) bool {
	var op *zk.OpError
	if !errors.As(err, &op) || op.Outcome() != zk.Answered || errors.Is(err, zk.ErrConnection) {
		return false
	}
	return errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrExists) || errors.Is(err, zk.ErrVersion) || errors.Is(err, zk.ErrNotEmpty)
}

// errorAttributes are error.type and, where a server has answered, its code. Both have
// few values.
func errorAttributes(err error) []attribute.KeyValue {
	f := metrics.FailureOf("", err)
	var code zk.Code
	switch {
	case errors.Is(err, context.Canceled):
		return []attribute.KeyValue{semconv.ErrorTypeKey.String("context_canceled")}
	case errors.Is(err, context.DeadlineExceeded):
		return []attribute.KeyValue{semconv.ErrorTypeKey.String("context_deadline_exceeded")}
	case f.Outcome == "answered" && f.Code != "other" && errors.As(err, &code):
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(f.Code), semconv.DBResponseStatusCodeKey.String(strconv.Itoa(int(code)))}
	case f.Outcome == "answered":
		return []attribute.KeyValue{semconv.ErrorTypeOther}
	}
	var op *zk.OpError
	if errors.As(err, &op) {
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(f.Outcome)}
	}
	return []attribute.KeyValue{semconv.ErrorTypeOther}
}
