// Package vitess holds a test only: the topology server of vitess, which imports a fork
// of samuel's go-zookeeper, passes its own suite with gozk/samuel in the fork's place, by
// the replace line of this go.mod. It is a module of its own because vitess requires so
// much.
package vitess
