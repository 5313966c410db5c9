package fourletter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest"
)

// reported returns a file of what users of ZooKeeper have reported.
func reported(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "reported", name))
	assert.NilError(t, err)
	return string(text)
}

// table returns its lines in columns, without comments.
func table(t *testing.T, name string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(reported(t, name)) {
		if !strings.HasPrefix(line, "#") {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	return rows
}

func TestBuilds(t *testing.T) {
	rows := append(table(t, "builds.tsv"), [][]string{
		{"3.5.0-alpha--1, built on 08/01/2014 10:01 GMT", "3.5.0-alpha", "-1", "08/01/2014 10:01 GMT"},
		{"3.5.3-beta", "3.5.3-beta", "", ""},
		{"3.6.3---1", "3.6.3", "-1", ""},
		{"3.4.6-78--1, built on 12/06/2016 12:30 GMT", "3.4.6-78", "-1", "12/06/2016 12:30 GMT"},
		{"3.9.0-SNAPSHOT-ABCDEF0, built on 2022-01-02 03:04 UTC", "3.9.0-SNAPSHOT", "ABCDEF0", "2022-01-02 03:04 UTC"},
		{"3.9.0-SNAPSHOT", "3.9.0-SNAPSHOT", "", ""},
		{"v23.8.2.7-stable-f73c8f37874, built on 2023-09-01 05:12 UTC", "v23.8.2.7-stable", "f73c8f37874", "2023-09-01 05:12 UTC"},
		{"3.4.6-", "3.4.6", "", ""},
	}...)
	for _, row := range rows {
		c := answering(t, map[string]string{
			"srvr": "Zookeeper version: " + row[0] + "\nMode: standalone\n",
			"mntr": "zk_version\t" + row[0] + "\nzk_server_state\tstandalone\n",
		})
		sv, err := c.Srvr(t.Context())
		assert.NilError(t, err)
		assert.DeepEqual(t, []string{sv.Version, sv.Revision, sv.Built}, row[1:])
		assert.Equal(t, sv.BuiltAt.IsZero(), sv.Built == "", "%+v", sv)
		m, err := c.Mntr(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, m.Version, row[1])
	}
	for text, want := range map[string]time.Time{
		"03/16/2010 07:31 GMT": time.Date(2010, 3, 16, 7, 31, 0, 0, time.UTC), "2021-03-17 09:46 UTC": time.Date(2021, 3, 17, 9, 46, 0, 0, time.UTC),
		"2021-03-17 09:46 CET": {}, "03/17/2021 09:46": {}, "": {}, "13/13/2021 09:46 GMT": {}, "yesterday": {},
	} {
		assert.Equal(t, builtAt(text), want, text)
	}
}

func TestReportedStat(t *testing.T) {
	st, err := answering(t, map[string]string{"stat": reported(t, "stat-3.2.txt")}).Stat(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, st, Stat{
		Server: Server{
			Version: "3.2.2", Revision: "-1", Built: "03/16/2010 07:31 GMT", BuiltAt: time.Date(2010, 3, 16, 7, 31, 0, 0, time.UTC),
			MinLatency: -4 * time.Millisecond, MaxLatency: 31007 * time.Millisecond, Received: 81020, Zxid: 0x10a47c0ff, Mode: "leader", Nodes: 391,
		},
		Conns: []Conn{{Addr: "192.0.2.17:40112", Received: 11}},
	})
	st, err = answering(t, map[string]string{"stat": reported(t, "stat-3.5-many.txt")}).Stat(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, st.Version, "3.5.3-beta")
	assert.Equal(t, st.MaxLatency, 1744*time.Millisecond)
	assert.Equal(t, st.Connections, int64(3))
	assert.DeepEqual(t, st.Conns, []Conn{
		{Addr: "127.0.0.1:51470", Received: 208675, Sent: 208677}, {Addr: "127.0.0.1:51504", Queued: 3, Received: 3774, Sent: 4216},
		{Addr: "192.0.2.9:56374", Received: 1},
	})
}

func TestReportedMetrics(t *testing.T) {
	m, err := answering(t, map[string]string{"mntr": reported(t, "mntr-3.6.txt")}).Mntr(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, m.State, "follower")
	assert.Equal(t, m.Version, "3.6.3")
	for _, q := range []string{"0.5", "0.9"} {
		n, ok := m.Values[`zk_om_commit_process_time_ms{quantile="`+q+`"}`]
		assert.Assert(t, ok && math.IsNaN(n), "%v", m)
	}
	assert.Equal(t, m.Values["zk_sum_my app_write_per_namespace"], 12.0)
	assert.Equal(t, m.Values["zk_uptime"], 2300007105458.0)
	assert.Equal(t, m.Values[`zk_readlatency{quantile="0.99"}`], 3.0)
}

// Addresses of IPv6 have brackets, whatever Java put.
func TestReportedConns(t *testing.T) {
	conns, err := answering(t, map[string]string{"cons": reported(t, "cons-ipv6.txt")}).Cons(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, conns, []Conn{
		{
			Addr: "[2001:db8:0:0:0:0:0:7]:51234", Received: 9, Sent: 9, Session: -4035225261828997117, LastOp: "PING", Established: time.UnixMilli(1700000000000),
			Timeout: 30 * time.Second, LastCxid: -2, LastZxid: -1, LastResponse: 104523 * time.Millisecond, MaxLatency: 3 * time.Millisecond,
		},
		{Addr: "[2001:db8:0:0:0:0:0:8]:55218", Queued: 11, Received: 22, Sent: 333},
		{
			Addr: "192.0.2.5:47218", Received: 5, Sent: 5, Session: 0x1000024cdd10004, LastOp: "NA", Established: time.UnixMilli(1700000000123),
			Timeout: 4 * time.Second, LastZxid: 1, LastResponse: 12 * time.Millisecond,
		},
	})
	for text, want := range map[string]string{
		"/127.0.0.1:1": "127.0.0.1:1", "localhost/127.0.0.1:1": "127.0.0.1:1", "/0:0:0:0:0:0:0:1:1": "[0:0:0:0:0:0:0:1]:1",
		"node/fe80:0:0:0:1:2:3:4%eth0:1": "[fe80:0:0:0:1:2:3:4%eth0]:1", "/[::1]:1": "[::1]:1",
	} {
		addr := clientAddr(text)
		assert.Equal(t, addr, want)
		_, _, err := net.SplitHostPort(addr)
		assert.NilError(t, err)
	}
	for _, text := range []string{"", "/", ":", "::", "[", "x"} {
		clientAddr(text) // and no panic
	}
}

func TestReportedDump(t *testing.T) {
	d, err := answering(t, map[string]string{"dump": reported(t, "dump-3.4.txt")}).Dump(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, d, Dump{
		Sessions:   []int64{0x150982bb5b90001, 0x150982bb5b90000},
		Ephemerals: map[int64][]string{0x150982bb5b90001: {"/jobs/worker-0000000003"}, 0x150982bb5b90000: {"/locks/a b", "/locks/ü"}},
	})
}

func TestReportedConf(t *testing.T) {
	c, err := answering(t, map[string]string{"conf": reported(t, "conf-k8s.txt")}).Conf(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, c.ConfigVersion, int64(0x100000000))
	assert.DeepEqual(t, c.Members, []string{
		"server.1=zk-0.zk-hs.default.svc.cluster.local:2888:3888:participant;0.0.0.0:2181",
		"server.2=zk-1a:2888:3888|zk-1b:2888:3888:observer;[::]:2181",
	})
	assert.Equal(t, c.DataLogDir, "/bitnami/zookeeper/dataLog/version-2")
	assert.Equal(t, c.SecureClientPort, -1)
}

// Each session id is read from where servers print it, and printed as they do by
// what the package's documentation says.
func TestSessionIDs(t *testing.T) {
	for _, row := range table(t, "session-ids.tsv") {
		id, err := strconv.ParseInt(row[0], 10, 64)
		assert.NilError(t, err)
		assert.Equal(t, fmt.Sprintf("0x%x", uint64(id)), row[1])
		c := answering(t, map[string]string{
			"cons": " /127.0.0.1:1[1](queued=0,recved=1,sent=1,sid=" + row[1] + ")\n",
			"dump": "SessionTracker dump:\n\t" + row[1] + "\t4000ms\nephemeral nodes dump:\n" + row[1] + ":\n\t/e\n",
			"wchc": row[1] + "\n\t/w\n",
			"wchp": "/w\n\t" + row[1] + "\n",
		})
		conns, err := c.Cons(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, conns[0].Session, id)
		d, err := c.Dump(t.Context())
		assert.NilError(t, err)
		assert.DeepEqual(t, d, Dump{Sessions: []int64{id}, Ephemerals: map[int64][]string{id: {"/e"}}})
		by, err := c.Wchc(t.Context())
		assert.NilError(t, err)
		assert.DeepEqual(t, by, map[int64][]string{id: {"/w"}})
		of, err := c.Wchp(t.Context())
		assert.NilError(t, err)
		assert.DeepEqual(t, of, map[string][]int64{"/w": {id}})
	}
}

// Whitelists as people write them, on a server of zktest; TestRealWhitelists asks real ones.
func TestWhitelists(t *testing.T) {
	for _, row := range table(t, "whitelist.tsv") {
		list, err := strconv.Unquote(row[0])
		assert.NilError(t, err)
		c := Client{Addr: zktest.NewServer(t, zktest.Options{FourLetterWords: list}).Addr()}
		for i, words := range row[1:] {
			for word := range strings.FieldsSeq(words) {
				_, err := c.Send(t.Context(), word)
				assert.Equal(t, err == nil, i == 0, "%q, %s: %v", list, word, err)
				assert.Assert(t, i == 0 || strings.Contains(err.Error(), string(ErrNotWhitelisted)), "%v", err)
			}
		}
	}
}

// A zone of IPv6 is for the network, not for TLS.
func TestZone(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv6loopback}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	assert.NilError(t, err)
	cert, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	ours := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	for addr, ok := range map[string]bool{"[::1%lo]:1": true, "[::1]:1": true, "[::2%lo]:1": false} {
		c := Client{Addr: addr, TLS: &tls.Config{RootCAs: roots}}
		c.DialContext = func(_ context.Context, _, dialed string) (net.Conn, error) {
			assert.Equal(t, dialed, addr)
			client, server := net.Pipe()
			go func() {
				conn := tls.Server(server, ours)
				defer conn.Close()
				if _, err := io.ReadFull(conn, make([]byte, 4)); err == nil {
					io.WriteString(conn, "imok")
				}
			}()
			return client, nil
		}
		err := c.Ruok(t.Context())
		assert.Equal(t, err == nil, ok, "%s: %v", addr, err)
	}
}
