package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// This file holds doc.go and README.md to their words: every snippet is code
// that is compiled and run, and every claim has a test.

// claims are sentences of doc.go with the tests or Examples that show them.
// Each paragraph and table of doc.go needs one, but for those in noClaims.
var claims = []struct{ text, tests string }{
	{"when the connection is lost, every call reports it", "TestLossWithCallsInFlight"},
	{"Nothing reconnects or repeats a call behind the application's back", "TestDocNothingHidden"},
	{"the session moves, with its ephemeral znodes, its watches and the events", "TestRedial TestStateJSON TestDocCloseLeavesEvents"},
	{"A full channel therefore delays all later events of the session, those of recipes and streams too. It never delays answers, and no event is dropped", "TestDocFullChannel TestI03_OneTotalOrder"},
	{"A capacity of 1 is enough for a one-shot watch whose event is received before its channel is armed again", "TestDocFullChannel TestI02_OwnSet"},
	{"channels that the application makes and never has to close", "TestNothingOfWatchesIsLeft"},
	{"There is no event for connected, disconnected or expired", "TestDocNoStateEvents"},
	{"If one goroutine owns the session, it is the loop that dials", "Example_oneOwner"},
	{"continue with its successor. Each decides about its operation by the outcome", "Example_manyGoroutines"},
	{"The function recipe.Run is this loop", "Example Example_oneOwner"},
	{"Some answers end the connection, and would end the next one too", "TestHopeless TestDocHopeless"},
	{"Other calls in flight are merely lost", "TestHopelessOfOthers TestBatchError"},
	{"Code that uses a Session but must not dial", "TestSuccessor"},
	{"look calls [Session.Sync] and then reads, because the next server may lag behind the last one", "TestSharedLoop TestDocBehind"},
	{"All goroutines that ask for the successor of a Session get the same one, made by one Dial", "TestRedialIsShared TestRenewIsShared"},
	{"The program in examples/redial runs both loops", "TestRunInProcess"},
	{"is one of three", "ExampleOpError TestOpError"},
	{"no byte of it left", "TestLossWithCallsInFlight ExampleOpError"},
	{"sent, and not answered", "TestI27_Outcomes TestLossWithCallsInFlight"},
	{"The error also has a reason. errors.Is finds the outcome and the reason", "ExampleOpError"},
	{"ErrConnection   this connection is over; the session may live   Dial, Redial", "TestRedial TestDocExpiry"},
	{"another Session has taken over", "TestRedial TestStaleClose"},
	{"the server has forgotten the session", "TestRenew"},
	{"every address failed: the reason of each", "TestFailedRedial"},
	{"credentials refused; the session lives", "TestAuthRefused"},
	{"after Close or Detach", "TestClose TestDetach"},
	{"ErrBadPath, ErrTooLarge, ErrBadArguments: not sent", "TestBadPath TestOversizeRequest TestBadArguments"},
	{"Only Dial and Redial return ErrExpired", "TestDocExpiry TestRenew"},
	{"Some answers end the connection, and then the error matches ErrConnection too", "TestHopeless TestDocHopeless TestSASLRequired TestMaxReply"},
	{"Other calls in flight fail as with any lost connection. Their errors match the same reason, but their outcome is not Answered", "TestHopelessOfOthers TestMaxReplyOfOthers TestI27_Outcomes"},
	{"A context ends the wait of a call, never the session", "TestCancelledCall TestContextDone"},
	{"A request that was sent by then is [ErrLost] and may still be executed. A request that was not sent is [ErrNotSent]. Both match the context's error", "TestDocGivenUp TestI27_Outcomes"},
	{"Dial obeys its context in every step", "TestDialContextEnds"},
	{"It tries every server once, in random order. The server whose connection was just lost comes last. All share the time equally", "TestDocDialTimeout TestDialTimeOfAMove TestDocAddrOrder TestLostServerComesLast TestLostAddressIsLast TestSilentServer"},
	{"Config.Auth is sent on every connection, before the watches", "TestI16_Order TestAuth"},
	{"Config.SASL comes first", "TestSASLComesFirst"},
	{"on every connection too. Its exchange must end within two thirds of the session timeout, because no pings are sent before", "TestSASLHoldsPings"},
	{"Dial fails with [ErrAuth] when a server refuses a credential of Config.Auth, or when all servers refuse SASL or fail to authenticate themselves by it", "TestI17_AuthRefused TestSASLRefused TestSASLRefusedByOne TestSASLHostileServer"},
	{"ZooKeeper 3.4 refuses SASL by closing the connection", "TestSASLRefused"},
	{"[Digest] makes a credential", "TestAuth TestACL"},
	{"arm a channel for one event", "ExampleSession_Get"},
	{"Read again, which arms the channel again", "ExampleSession_Get"},
	{"Get        an existing znode   Changed or Deleted", "TestDocKinds TestWatchKinds"},
	{"Exists     an existing znode   Changed or Deleted", "TestDocKinds TestWatchKinds"},
	{"Exists     a missing znode     Created", "TestDocKinds TestWatchKinds"},
	{"an existing znode   Child or Deleted", "TestDocKinds TestI06_EventToRegistry"},
	{"A call that returns an error has armed nothing", "TestI05_ArmedOnSuccessOnly"},
	{"For Exists a missing znode is not an error", "ExampleSession_Exists"},
	{"gets one event per change", "TestI07_SameChannelTwice"},
	{"An event does not say which call armed its channel", "TestI07_AcrossPathsAndKinds"},
	{"Use [Session.RemoveWatch] to disarm it", "TestRemoveWatch TestI11_RemoveWatch"},
	{"A closed channel loses its watches, and the Logger reports that once", "TestDocClosedChannel TestI11_RemoveWatch TestClosedChannelIsReportedOnce"},
	{"waits for nothing but the network", "TestDocFullChannel"},
	{"An event is not delivered until every call that was answered before it runs again, or has returned because its context ended", "TestI01_ResponseBeforeEvent TestI01_CallsThatHoldNothingUp"},
	{"A call does not return until every event before its answer is in its channel, or queued", "TestI02_EventBeforeLaterResponse TestI02_BehindTheLastQueued TestRoomIsUsedBeforeTheAnswer"},
	{"Events are one sequence over all channels and connections of a session", "TestI03_OneTotalOrder TestI03_RandomAgainstModel TestI15_OldBeforeNew"},
	{"when Set returns, the event of that change is in the channel", "TestI02_OwnSet TestDocSnippetOwnSet"},
	{"the next server may be a little behind. That server sends the event again when it has caught up, or [Session.Sync] waits for that", "TestDocBehind"},
	{"no server that is behind State.Zxid is accepted, so no read shows an older state than an answer before it did", "TestDocNoPast TestI24_ServerBehind"},
	{"[Session.Multi] executes all its operations or none", "ExampleSession_Multi TestMultiFails"},
	{"operations of any kind without waiting in between", "TestBatch TestI01_BatchIsOneCall"},
	{"each has its own answer and outcome", "ExampleSession_Batch TestBatch"},
	{"[Session.MultiRead] is one request for many reads", "TestMultiRead"},
	{"Dial first ends the Session that held this session before, whoever had dialed it", "TestRedial TestDialsOfOneIdentity"},
	{"its Close does nothing", "TestStaleClose TestStaleCloseSendsNothing"},
	{"Calls in flight on that Session are lost and later ones not sent, with [ErrMoved]", "TestI22_FencedBeforeConnect TestI27_Outcomes"},
	{"Dial returns when the server has the credentials and watches", "TestI16_Order"},
	{"A znode that was deleted and created again gives Changed, and one that was created and deleted gives nothing", "TestDocCoalesced"},
	{"A Dial that fails loses nothing: dial the same config again", "TestFailedRedial"},
	{"reads restore the watches one by one, with the same events", "TestServerWithoutSetWatches TestManyWithoutSetWatches"},
	{"Begin the work on a new connection with a read. The watches are still armed, and a channel that is armed again gets no event twice", "TestI07_SameChannelTwice Example"},
	{"The ephemeral znodes are still there if [Session.ID] is the same. A session from Renew has none", "TestRedial TestRenew"},
	{"If something may have changed, the channel gets a [Gap] before any later event", "ExampleSession_AddWatch TestI10_Gap"},
	{"More than 65,536 undelivered events of persistent watches end the Session", "TestDocSlowConsumer"},
	{"The redial brings a Gap for the events after these", "TestDocSlowConsumer"},
	{"a call that would arm one fails with the same error, and nothing is sent", "TestOneShotsThatNobodyReceives"},
	{"A server expires a session that it has not heard from for [Session.Timeout], and deletes its ephemeral znodes", "TestDocTimeout"},
	{"The client learns this only at the next Dial", "TestDocExpiry"},
	{"No server expires the session before [Session.ExpiresAt]", "TestDocExpiresAt"},
	{"One-shot watches miss no change. Persistent ones always get a Gap", "ExampleSession_Renew TestDocRenewGap"},
	{"when it returns nil, the ephemeral znodes are gone", "TestClose"},
	{"On a lost connection it cannot do that, and reports when the session expires by itself", "TestCloseAfterLoss"},
	{"closes only the connection and returns the Config to continue with", "TestDetach ExampleSession_Detach"},
	{"Undelivered events stay in it", "TestDocCloseLeavesEvents"},
	{"Events in a channel belong to the application", "TestDocCloseLeavesEvents"},
	{"No goroutine, timer or connection of a Session outlives Done, or a failed Dial", "TestNothingIsLeft TestI33_NothingLeft TestI20_FailedDialIsRetryable TestMain"},
	{"a DNS or Kerberos lookup that was abandoned by its context finishes in the background", "TestI32_DialStallsInDNS"},
	{"marshals to JSON, with its password", "ExampleSession_Detach TestStateJSON"},
	{"Nothing else prints a password or credential, whatever the verb or logger, with one exception", "TestDocSecrets TestSecretsThatCannotBeHidden"},
}

// noClaims are paragraphs that say nothing that could be wrong.
var noClaims = []string{
	"Package zk is a synchronous client for Apache ZooKeeper.",
}

// docText returns the text of a doc.go, split into paragraphs and blocks of code.
func docText(t *testing.T, name string) (paragraphs, blocks []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	assert.NilError(t, err)
	return splitText(file.Doc.Text(), "\t")
}

// splitText tells code, whose lines begin with indent, from paragraphs. Items
// of a list are paragraphs of their own.
func splitText(text, indent string) (paragraphs, blocks []string) {
	var para, code []string
	end := func() {
		if p := strings.Join(strings.Fields(strings.Join(para, " ")), " "); p != "" && !strings.HasPrefix(p, "# ") {
			paragraphs = append(paragraphs, p)
		}
		para = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, indent) || line == "" && len(code) > 0 {
			end()
			code = append(code, strings.TrimPrefix(line, indent))
			continue
		}
		if len(code) > 0 {
			blocks = append(blocks, strings.TrimSpace(strings.Join(code, "\n")))
			code = nil
		}
		if line == "" || strings.HasPrefix(line, "  - ") {
			end()
		}
		para = append(para, line)
	}
	end()
	if len(code) > 0 {
		blocks = append(blocks, strings.TrimSpace(strings.Join(code, "\n")))
	}
	return paragraphs, blocks
}

func TestDocClaims(t *testing.T) {
	suite.ToRoot(t)
	paragraphs, blocks := docText(t, "doc.go")
	claimed := make(map[string]bool)
	for _, p := range noClaims {
		claimed[p] = true
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	all := paragraphs
	for _, b := range blocks {
		if !isGo(b) {
			all = append(all, squeeze(b))
		}
	}
	known := testNames(t)
	for _, c := range claims {
		found := false
		for _, p := range all {
			if strings.Contains(p, squeeze(c.text)) {
				found, claimed[p] = true, true
			}
		}
		assert.Check(t, found, "doc.go does not say: %s", c.text)
		for _, name := range strings.Fields(c.tests) {
			assert.Check(t, known[name], "%s, the test of %q, is gone", name, c.text)
		}
	}
	for _, p := range all {
		assert.Check(t, claimed[p], "a paragraph of doc.go without a test: %s", p)
	}
}

// testNames returns the tests and Examples of the client and of examples.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, file := range globAll(t, "*_test.go", "internal/*/*_test.go", "examples/*/*_test.go") {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		assert.NilError(t, err)
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

func globAll(t testing.TB, patterns ...string) (files []string) {
	t.Helper()
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		assert.NilError(t, err)
		files = append(files, found...)
	}
	return files
}

// isGo tells code from tables.
func isGo(block string) bool {
	for _, file := range []string{"package p\nfunc _() {\n" + block + "\n}", "package p\n" + block, block} {
		if _, err := parser.ParseFile(token.NewFileSet(), "", file, 0); err == nil {
			return true
		}
	}
	return false
}

// trimmed returns the lines of code without indentation, alignment and empty ones.
func trimmed(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

// Every snippet stands in code that is compiled and, as a test, run.
func TestDocSnippets(t *testing.T) {
	suite.ToRoot(t)
	var code string
	for _, file := range globAll(t, "example_test.go", "internal/scripts/doc_test.go", "examples/*/*.go", "docs/examples/*.go", "gozk/doc_test.go") {
		src, err := os.ReadFile(file)
		assert.NilError(t, err)
		code += trimmed(string(src))
	}
	_, blocks := docText(t, "doc.go")
	blocks = append(blocks, readmeBlocks(t, "go")...)
	_, ofGozk := docText(t, "gozk/doc.go")
	blocks = append(blocks, ofGozk[len(ofGozk)-1]) // the loop
	n := 0
	for _, b := range blocks {
		if !isGo(b) {
			continue
		}
		for _, part := range strings.Split(b, "\n\n") {
			if strings.HasPrefix(b, "// ") || strings.Contains(b, "package main") {
				part = b
			}
			n++
			assert.Check(t, strings.Contains(code, trimmed(part)), "not compiled anywhere:\n%s", part)
		}
	}
	assert.Assert(t, n > 10, "only %d snippets were found", n)
}

// readmeBlocks returns the fenced blocks of README.md of one language.
func readmeBlocks(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	assert.NilError(t, err)
	parts := strings.Split(string(text), "```")
	for i := 1; i < len(parts); i += 2 {
		if code, ok := strings.CutPrefix(parts[i], language+"\n"); ok {
			blocks = append(blocks, strings.TrimSpace(code))
		}
	}
	return blocks
}

// The code that README.md shows first is a region of a program that is run.
func TestReadmeProgram(t *testing.T) {
	suite.ToRoot(t)
	src, err := os.ReadFile("examples/first/main.go")
	assert.NilError(t, err)
	blocks := readmeBlocks(t, "go")
	assert.Assert(t, len(blocks) > 0, "README.md has no program")
	assert.Equal(t, blocks[0], regions(string(src))["first"])
}

// guarantees are the tests of README.md's guarantees, in their order.
var guarantees = []string{
	"TestI08_ExactlyOne TestI08_AcrossMigrations TestCuts TestSimulator TestRedialChain TestRunInProcess",
	"TestI03_OneTotalOrder TestI15_OldBeforeNew",
	"TestI01_ResponseBeforeEvent TestI02_OwnSet",
	"TestLossWithCallsInFlight TestDocNothingHidden",
	"TestDocNoPast",
	"TestRedial TestStaleClose",
	"TestDocExpiry TestDocExpiresAt",
	"TestRenew ExampleSession_Renew",
	"TestDocFullChannel",
	"TestI33_NothingLeft TestNothingIsLeft TestMain", // the last looks for goroutines of the client after all tests
}

func TestReadmeGuarantees(t *testing.T) {
	suite.ToRoot(t)
	text, err := os.ReadFile("README.md")
	assert.NilError(t, err)
	_, section, _ := strings.Cut(string(text), "\n## Guarantees\n")
	section, _, _ = strings.Cut(section, "\n## ")
	known := testNames(t)
	for i, tests := range guarantees {
		assert.Check(t, strings.Contains(section, fmt.Sprintf("\n%d. ", i+1)))
		for _, name := range strings.Fields(tests) {
			assert.Check(t, known[name], "%s, a test of guarantee %d, is gone", name, i+1)
		}
	}
	assert.Check(t, !strings.Contains(section, fmt.Sprintf("\n%d. ", len(guarantees)+1)))
}

// The commands that README.md tells of are there.
func TestReadmeIsComplete(t *testing.T) {
	suite.ToRoot(t)
	text, err := os.ReadFile("README.md")
	assert.NilError(t, err)
	for _, command := range []string{"go run ./examples/redial", "make test", "make test-matrix", "go run ./examples/first", "BSD-2-Clause"} {
		assert.Check(t, strings.Contains(string(text), command), command)
	}
}
