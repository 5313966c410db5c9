// Package users holds tests only: programs of others, which import go-zookeeper, run
// with gozk in its place, by the replace line of this go.mod. They are not edited.
//
//   - go-kit's service discovery: its own tests, those with a server included;
//   - prometheus' tree cache: a tree that changes while its connection is cut.
package users
