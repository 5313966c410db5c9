package apache

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// TxnLogDir returns the folder that holds version-2 with the transaction logs. It
// is DataDir, unless the setting dataLogDir names another one.
func (s *Server) TxnLogDir() string {
	dir, ok := s.e.conf.Settings[keyTxnLogDir]
	switch {
	case !ok:
		return s.DataDir()
	case filepath.IsAbs(dir):
		return dir
	}
	return s.dir + string(filepath.Separator) + dir // the server's working directory; not cleaned, for it may lead through links
}

// TxnLog returns the server's transaction logs, oldest first, as ZooKeeper's own
// TxnLogToolkit prints them. Each transaction is a line with session, cxid (the
// client's xid), zxid, type, path, data and version. Data is printed as it is,
// with its line ends. So text without line ends is the best to look for;
// Server.Txns parses everything.
//
// TxnLog may be called while the server runs. Then the newest transactions may be
// missing. It fails while the server has no folder for its log. The toolkit of
// 3.5 fails at a node with null data.
func (s *Server) TxnLog(ctx context.Context) (string, error) {
	logs, err := s.txnLogFiles()
	if err != nil {
		return "", err
	}
	var all bytes.Buffer
	for _, log := range logs {
		cmd := exec.CommandContext(ctx, s.e.in.Java, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			// The same text everywhere: in what Java says and how it writes it.
			"-Duser.language=en", "-Duser.country=US", "-Duser.timezone=UTC", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8",
			"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", s.e.in.classPath(),
			"org.apache.zookeeper.server.persistence.TxnLogToolkit", "-d", log)
		cmd.Dir, cmd.Env = s.dir, javaEnv()
		var stderr bytes.Buffer
		from := all.Len()
		cmd.Stdout, cmd.Stderr = &all, &stderr
		if err := cmd.Run(); err != nil {
			// A Java that cannot start says so on its standard output.
			return "", fmt.Errorf("dump %s: %w\n%s%s", log, err, stderr.Bytes(), lastLines(all.String()[from:], 5))
		}
	}
	return all.String(), nil
}

// txnLogFiles returns the files of the transaction log, oldest first.
func (s *Server) txnLogFiles() ([]string, error) {
	dir := filepath.Join(s.TxnLogDir(), "version-2")
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the transaction log of server %d: %w", s.id, err)
	}
	first := map[string]uint64{} // zxid, by file
	for _, file := range list {
		digits, ok := strings.CutPrefix(file.Name(), "log.")
		if zxid, err := strconv.ParseUint(digits, 16, 64); ok && err == nil {
			first[filepath.Join(dir, file.Name())] = zxid
		}
	}
	return slices.SortedFunc(maps.Keys(first), func(a, b string) int { return cmp.Compare(first[a], first[b]) }), nil
}
