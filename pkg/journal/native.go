package journal

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// DefaultSocket is the socket from which journald reads native entries.
const DefaultSocket = "/run/systemd/journal/socket"

// A Priority is the PRIORITY of an entry, as in syslog(3).
type Priority int

// The priorities, from the most to the least urgent.
const (
	PriEmerg Priority = iota
	PriAlert
	PriCrit
	PriErr
	PriWarning
	PriNotice
	PriInfo
	PriDebug
)

// maxName is the longest name of a field that journald accepts.
const maxName = 64

// AppendField appends a field to an entry of the native protocol of the journal
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL). The name is prefix followed by key, changed so that
// journald accepts it: at most 64 of the characters A-Z, 0-9 and _. journald silently drops fields
// with other names. The name must begin with a letter. value may contain any bytes.
func AppendField(dst []byte, prefix, key string, value []byte) []byte {
	start := len(dst)
	dst = appendName(appendName(dst, prefix), key)
	dst = dst[:min(len(dst), start+maxName)]
	if bytes.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' }) < 0 {
		dst = append(dst, '=')
	} else {
		dst = append(dst, '\n')
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	}
	dst = append(dst, value...)
	return append(dst, '\n')
}

func appendName(dst []byte, name string) []byte {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// Cut returns value if it has at most limit bytes. Otherwise it returns the beginning of value,
// with whole characters, and an ellipsis, together at most limit bytes; for a limit below 3, it
// returns only the ellipsis.
func Cut(value []byte, limit int) []byte {
	const ellipsis = "…"
	if len(value) <= limit {
		return value
	}
	end := max(limit-len(ellipsis), 0)
	for i := 0; i < utf8.UTFMax-1 && end > 0 && !utf8.RuneStart(value[end]); i++ {
		end--
	}
	return append(bytes.Clone(value[:end]), ellipsis...)
}
