// Package zktest is a ZooKeeper for tests: servers in this process that speak
// the real protocol, start in a millisecond, keep nothing on disk and break on
// demand.
package zktest
