package apache

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// Config says what to start. Its zero value is one server of the newest release.
type Config struct {
	// Release is the release of the servers; empty: V3_9.
	Release Release
	// Members is the number of servers; zero: 1, a standalone server. Three or more form an
	// ensemble.
	Members int
	// Settings are lines of zoo.cfg ("tickTime", "initLimit", "autopurge.purgeInterval"), over the
	// ones that are set anyway. Start refuses those that it needs for itself, such as "dataDir" and
	// "clientPort", and those that it cannot honour. A relative "dataLogDir" is below the folder of
	// each server, next to its DataDir; an absolute one is for one server only.
	Settings map[string]string
	// Properties are Java system properties ("zookeeper.enforceQuota"), likewise.
	Properties map[string]string
	// TLS adds a second port to each server, see Server.SecureAddr; nil: none. Since 3.5.
	TLS *TLS
	// HeapMB is the heap of each server in MiB; zero: 128.
	HeapMB int
	// Dir holds data and logs, and is kept after Close; empty: a temporary folder. Its name must be
	// UTF-8.
	Dir string
	// Log gets every server's log as it is written; nil: none, but see Server.Logs.
	Log io.Writer
}

// TLS is what servers need for a port with TLS. Certificates and keys are in PEM.
// They are written to files beside each server's zoo.cfg.
type TLS struct {
	Cert       []byte // the server's certificate, and behind it those between it and its authority
	Key        []byte // its private key, PKCS #8
	ClientCAs  []byte // the authorities that clients' certificates are from
	ClientAuth string // ssl.clientAuth: need, want or none; empty: need
}

// writeConfig writes the folder, myid and zoo.cfg of a member, and since 3.5
// the file with the members, which reconfiguration writes anew under other names.
func (s *Server) writeConfig(all []*Server) error {
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o755); err != nil {
		return err
	}
	conf := s.e.conf
	cfg := map[string]string{
		"dataDir":           filepath.Join(s.dir, "data"),
		"tickTime":          strconv.FormatInt(tick.Milliseconds(), 10),
		"initLimit":         "20", // ticks
		"syncLimit":         "6",
		"minSessionTimeout": "500", // ms
		"maxSessionTimeout": "60000",
		"maxClientCnxns":    "0", // no limit
		keyAdmin:            "false",
		"reconfigEnabled":   "true",
		keyWhitelist:        conf.whitelist(),
	}
	// Up to 3.4 the client's port has lines of its own. Later releases take it from the
	// server lines, where reconfiguration needs it.
	old := conf.Release == V3_4
	if old || conf.Members == 1 {
		cfg["clientPortAddress"] = "127.0.0.1"
		cfg["clientPort"] = strconv.Itoa(s.ports[0])
	}
	if conf.Members > 1 {
		var lines strings.Builder
		for _, m := range all {
			if old {
				cfg["server."+strconv.Itoa(m.id)] = fmt.Sprintf("127.0.0.1:%d:%d", m.ports[1], m.ports[2])
			}
			fmt.Fprintln(&lines, m.Line())
		}
		if !old {
			cfg[keyDynamic] = s.configFile() + ".dynamic"
			if err := os.WriteFile(cfg[keyDynamic], []byte(lines.String()), 0o644); err != nil {
				return err
			}
		}
	}
	if conf.TLS != nil {
		if err := s.writeTLS(cfg); err != nil {
			return err
		}
	}
	maps.Copy(cfg, conf.Settings)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg = cfg
	if err := os.WriteFile(filepath.Join(s.dir, "data", "myid"), []byte(strconv.Itoa(s.id)+"\n"), 0o644); err != nil {
		return err
	}
	return s.writeStatic()
}

// writeStatic writes zoo.cfg from s.cfg.
func (s *Server) writeStatic() error {
	var text []byte
	for _, k := range slices.Sorted(maps.Keys(s.cfg)) {
		text = appendProperty(text, k, s.cfg[k])
	}
	return os.WriteFile(s.configFile(), text, 0o644)
}

// rewriteStatic writes zoo.cfg again, with the members as they were reconfigured
// last. A server that takes part in a reconfiguration, the one at its first start
// included, writes its zoo.cfg without escapes, and would not find its data again.
func (s *Server) rewriteStatic() error {
	if _, ok := s.cfg[keyDynamic]; !ok {
		return nil
	}
	var err error
	if s.cfg[keyDynamic], err = s.dynamicFile(); err != nil {
		return err
	}
	return s.writeStatic()
}

// writeTLS writes the files of the port with TLS, and adds its settings.
func (s *Server) writeTLS(cfg map[string]string) error {
	conf := s.e.conf.TLS
	keys, trusted := filepath.Join(s.dir, "keys.pem"), filepath.Join(s.dir, "trusted.pem")
	if err := os.WriteFile(keys, slices.Concat(conf.Key, conf.Cert), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(trusted, conf.ClientCAs, 0o644); err != nil {
		return err
	}
	maps.Copy(cfg, map[string]string{
		"secureClientPort":        strconv.Itoa(s.ports[3]),
		"secureClientPortAddress": "127.0.0.1",
		"serverCnxnFactory":       "org.apache.zookeeper.server.NettyServerCnxnFactory",
		"ssl.keyStore.location":   keys,
		"ssl.keyStore.type":       "PEM",
		"ssl.trustStore.location": trusted,
		"ssl.trustStore.type":     "PEM",
		"ssl.clientAuth":          cmp.Or(conf.ClientAuth, "need"),
	})
	return nil
}

// javaArgs returns the arguments of the java command that runs a member.
func (s *Server) javaArgs() []string {
	conf := s.e.conf
	props := map[string]string{
		"zookeeper.forceSync":                                "no",
		"zookeeper.preAllocSize":                             "64", // KiB, of each transaction log
		"zookeeper.extendedTypesEnabled":                     "true",
		"zookeeper.enforceQuota":                             "true",
		"zookeeper." + keyAdmin:                              "false",
		"zookeeper." + keyWhitelist:                          "*",
		"znode.container.checkIntervalMs":                    "500",  // of TTL and container nodes
		"zookeeper.jmx.log4j.disable":                        "true", // 3.4 insists on log4j otherwise
		keyReadOnly:                                          "true",
		"java.awt.headless":                                  "true",
		"org.slf4j.simpleLogger.showDateTime":                "true",
		"org.slf4j.simpleLogger.dateTimeFormat":              "HH:mm:ss.SSS",
		"org.slf4j.simpleLogger.showShortLogName":            "true",
		"zookeeper.DigestAuthenticationProvider.superDigest": data.DigestID(SuperCredential),
	}
	maps.Copy(props, conf.Properties)
	// Serial collector and first-level compiler: quick to start, and few threads on a small machine.
	args := []string{fmt.Sprintf("-Xmx%dm", conf.HeapMB), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"}
	for _, k := range slices.Sorted(maps.Keys(props)) {
		args = append(args, "-D"+k+"="+props[k])
	}
	return append(args, "-cp", s.e.in.classPath(),
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", s.configFile())
}

// javaEnv is the environment of Java, in which names of files are UTF-8 whatever
// the user's own locale is.
func javaEnv() []string { return append(os.Environ(), "LC_ALL=C.UTF-8") }
