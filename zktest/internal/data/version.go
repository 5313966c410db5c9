// Package data is what a ZooKeeper server knows and decides without a network:
// the tree of znodes, the transactions that change it, the rules by which a
// leader turns requests into transactions, and the watches that they fire.
//
// Nothing in it waits or locks: its caller holds one lock around all of it.
package data

// Version is the ZooKeeper release series whose rules hold.
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
