package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// longestDir bounds the name of a folder; systems allow 255 bytes.
const longestDir = 100

// DataDir returns the folder below data for what is kept along with one bus: data/kafka for a bare "kafka", the
// embedded broker of `tidings up`; data/kafka-host-9092 for kafka://host:9092. Users and parameters in the address
// don't matter, nor does the number of a Redis database: channels are the whole server's. Databases that followed one bus are of no use with another, so each has a folder of its own.
func DataDir(data, bus string) string {
	name, _, _ := strings.Cut(bus, "?")
	if scheme, rest, ok := strings.Cut(name, "://"); ok {
		rest = rest[strings.LastIndexByte(rest, '@')+1:]
		if scheme == "redis" || scheme == "rediss" {
			rest, _, _ = strings.Cut(rest, "/")
		}
		name = scheme + "-" + strings.TrimRight(rest, "/")
	}
	dir := strings.Map(plain, name)
	if len(dir) > longestDir {
		sum := sha256.Sum256([]byte(name))
		dir = dir[:longestDir] + "-" + hex.EncodeToString(sum[:4])
	}
	if dir == "" || dir[0] == '.' {
		dir = "bus-" + dir // never data itself, or what is above it
	}
	return filepath.Join(data, dir)
}

// plain leaves what every file system takes.
func plain(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
		return r
	}
	return '-'
}
