package journal

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// DefaultSocket is where journald reads native entries.
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

// maxName is how many letters of a field's name journald accepts.
const maxName = 64

// AppendField appends a field to an entry of the journal's native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL). Its name is prefix and key in the
// letters that journald accepts (A-Z, 0-9 and _), at most 64, since it drops a field of
// any other name in silence. The first one must be a letter. Any bytes in value arrive as
// they are.
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

// Cut returns value, or its first limit bytes at most, whole characters and an
// ellipsis, if it is longer than that.
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
