package apache

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	keyTxnLogDir = "dataLogDir"
	keyDynamic   = "dynamicConfigFile"
	keyWhitelist = "4lw.commands.whitelist"
	keyAdmin     = "admin.enableServer"
	keyReadOnly  = "readonlymode.enabled" // a property, not a setting
)

// taken has the settings that this package needs for itself, and what to use instead.
var taken = map[string]string{
	"dataDir": "Config.Dir", "clientPort": "Server.Addr", "clientPortAddress": "Server.Addr",
	keyDynamic: "Config.Members", "server.": "Config.Members", "group.": "Config.Members", "weight.": "Config.Members",
	"secureClientPort": "Config.TLS", "secureClientPortAddress": "Config.TLS",
}

// check refuses what no server could honour, before anything starts.
func (conf *Config) check() error {
	if conf.Members < 0 || conf.Members == 2 {
		return fmt.Errorf("an ensemble of %d: it takes 1, or 3 or more, members", conf.Members)
	}
	if conf.HeapMB < 0 {
		return fmt.Errorf("a heap of %d MiB", conf.HeapMB)
	}
	if conf.TLS != nil && conf.Release == V3_4 {
		return fmt.Errorf("ZooKeeper %s has no TLS", conf.Release)
	}
	if err := javaString(conf.Dir); err != nil {
		return fmt.Errorf("Config.Dir %q: %w", conf.Dir, err)
	}
	for _, k := range slices.Sorted(maps.Keys(conf.Settings)) {
		if err := conf.checkSetting(k, conf.Settings[k]); err != nil {
			return fmt.Errorf("setting %q: %w", k, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(conf.Properties)) {
		if err := checkProperty(k, conf.Properties[k]); err != nil {
			return fmt.Errorf("property %q: %w", k, err)
		}
	}
	if !conf.answers("srvr") && !conf.answers("isro") {
		return fmt.Errorf("%s %q has neither srvr nor isro, by which servers say that they serve", keyWhitelist, conf.whitelist())
	}
	return nil
}

func (conf *Config) checkSetting(k, v string) error {
	if err := errors.Join(javaString(k), javaString(v)); err != nil {
		return err
	}
	if k == "" || trimJava(k) != k {
		return errors.New("the server would take it without the blanks around it")
	}
	for name, instead := range taken {
		if k != name && !(strings.HasSuffix(name, ".") && strings.HasPrefix(k, name)) {
			continue
		}
		if strings.HasPrefix(name, "secure") && conf.TLS == nil && conf.Members == 1 {
			continue // a port with TLS that is set up by hand
		}
		return errors.New("set by this package, see " + instead)
	}
	switch {
	case k == keyTxnLogDir && (v == "" || trimJava(v) != v):
		return fmt.Errorf("no server takes the folder %q as it is", v)
	case k == keyTxnLogDir && filepath.IsAbs(v) && conf.Members > 1:
		return errors.New("all members would write to one folder; a relative one is below the folder of each")
	case k == "serverCnxnFactory" && conf.TLS != nil && !strings.Contains(v, "Netty"):
		return errors.New("only Netty has a port with TLS")
	case k == keyAdmin && strings.EqualFold(trimJava(v), "true"):
		return errNoAdmin
	}
	return nil
}

var errNoAdmin = errors.New("the jars of the admin server are not fetched")

func checkProperty(k, v string) error {
	if err := errors.Join(javaString(k), javaString(v)); err != nil {
		return err
	}
	switch {
	case k == "" || strings.Contains(k, "="):
		return errors.New("no name of a property")
	case k == "zookeeper."+keyAdmin && strings.EqualFold(v, "true"):
		return errNoAdmin
	}
	return nil
}

// javaString refuses what cannot be handed to Java as it is.
func javaString(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("not UTF-8")
	case strings.ContainsRune(s, 0):
		return errors.New("a NUL in it")
	}
	return nil
}

// trimJava is Java's String.trim, which servers apply to every setting.
func trimJava(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// whitelist returns the words that are allowed: a setting goes over a property.
func (conf *Config) whitelist() string {
	if list, ok := conf.Settings[keyWhitelist]; ok {
		return list
	}
	if list, ok := conf.Properties["zookeeper."+keyWhitelist]; ok {
		return list
	}
	return "*"
}

// answers reports whether the servers answer a four-letter word.
func (conf *Config) answers(word string) bool {
	if word == "isro" { // allowed by itself where there are read-only servers
		if v, ok := conf.Properties[keyReadOnly]; !ok || v == "true" {
			return true
		}
	}
	for w := range strings.SplitSeq(conf.whitelist(), ",") {
		if w = trimJava(w); w == "*" || w == word {
			return true
		}
	}
	return false
}

// appendProperty appends a line of a Java properties file. Such a file is ISO
// 8859-1, so everything else is an escape of UTF-16.
func appendProperty(b []byte, key, value string) []byte {
	b = append(appendEscaped(b, key), '=')
	return append(appendEscaped(b, value), '\n')
}

func appendEscaped(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '\\' || r == ':' || r == '=' || r == '#' || r == '!':
			b = append(b, '\\', byte(r))
		case r > ' ' && r <= '~':
			b = append(b, byte(r))
		default:
			for _, u := range utf16.AppendRune(nil, r) {
				b = append(b, `\u`...)
				b = append(b, strconv.FormatUint(1<<16|uint64(u), 16)[1:]...)
			}
		}
	}
	return b
}
