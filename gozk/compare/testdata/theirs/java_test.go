//go:build real

package zk

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// javaServer runs a server of the release in ZK_VERSION.
func javaServer(t *testing.T, configPath string, stdout, stderr io.Writer) (*server, error) {
	in, err := apache.Find(apache.Release(os.Getenv("ZK_VERSION")))
	if err != nil {
		return nil, err
	}
	return &server{
		cmdString: in.Java,
		cmdArgs: []string{
			"-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
			"-Dzookeeper.jmx.log4j.disable=true", // 3.4 looks for a logger that is not among its jars
			// The password is "test".
			"-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
			"-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.emulate353TTLNodes=true", "-Dzookeeper.forceSync=no",
			"-cp", strings.Join(in.Jars, string(filepath.ListSeparator)),
			"org.apache.zookeeper.server.quorum.QuorumPeerMain", configPath,
		},
		stdout: stdout, stderr: stderr,
	}, nil
}
