// Package interop lets recipe share directories with kazoo and Apache Curator: on
// one real server both sides use the same recipe at a time, over connections that
// are cut, and what they do under it has to come out right. The tests run with
// ZK_TEST_APACHE=1, and need python3-kazoo, a JDK, and Maven for Curator's jars.
package interop
