// Package compare holds tests only: those of gozk that need go-zookeeper beside it.
// They are a module of their own, so that gozk itself requires only the root.
package compare
