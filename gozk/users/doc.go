// Package users holds tests only: programs of others, which import go-zookeeper, run
// with gozk in its place, by the replace line of this go.mod. They are not edited.
//
//   - go-kit's service discovery: its own tests, those with a server included;
//   - prometheus' tree cache: a tree that changes while its connection is cut;
//   - vitess' topology server: its own suite, in a module of its own in this folder.
//
// They run on an in-process server, and with ZK_TEST_APACHE=1 on real ones: make
// test-matrix takes all releases.
//
// Two more should be here, whose tests passed with a prototype of gozk:
// github.com/kvtools/zookeeper and github.com/tfzk/terraform-provider-zookeeper. Where
// this was written the module proxy refused them, the lists of their versions (go list
// -m -versions) as well as single versions.
package users
