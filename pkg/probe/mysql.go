package probe

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"strings"
)

// mysqlTemporary are the errors that pass: shutdown, connection limits, and what the
// server is short of.
var mysqlTemporary = []int{1037, 1040, 1041, 1053, 1135, 1203, 1226}

// readMySQL reads the first packet: the handshake of protocol 10, or an error.
func readMySQL(said []byte, whole bool) reading {
	if len(said) < 5 && (len(said) < 3 || said[2] == 0) && (len(said) < 4 || said[3] == 0) {
		return reading{promised: len(said) > 0}
	}
	size, ok := mysqlPacket(said)
	switch {
	case !ok:
		_, end := firstLine(said, whole)
		return reading{kind: foreign, end: end}
	case said[4] == 255 && (whole || len(said) >= size): // a server may hang up in the middle of its words
		return readMySQLError(said[:min(size, len(said))])
	case len(said) < size:
		return reading{promised: true}
	}
	version, _, found := bytes.Cut(said[5:size], []byte{0})
	if !found {
		return reading{kind: foreign, end: size}
	}
	out := reading{kind: positive, end: size, software: "MySQL", version: string(version)}
	if number, _, maria := strings.Cut(out.version, "-MariaDB"); maria {
		out.software, out.version = "MariaDB", strings.TrimPrefix(number, "5.5.5-") // before it, for old replicas
	}
	return out
}

// readMySQLError reads an error packet: a code, then perhaps # and the SQL state, then
// a text.
func readMySQLError(packet []byte) reading {
	out := reading{kind: refusal, end: len(packet)}
	if len(packet) < 7 {
		return out
	}
	code := int(binary.LittleEndian.Uint16(packet[5:]))
	text := packet[7:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:]
	}
	out.refused = Refusal{Code: strconv.Itoa(code), Text: string(text), Temporary: slices.Contains(mysqlTemporary, code)}
	return out
}

// The capability flags and the character sets of a login.
const (
	mysqlProtocol41   = 0x00000200
	mysqlSSL          = 0x00000800
	mysqlSecure       = 0x00008000 // the authentication of protocol 4.1
	mysqlPlugins      = 0x00080000
	mysqlCapabilities = mysqlProtocol41 | mysqlSecure | mysqlPlugins
	mysqlUTF8         = 33
	mysqlUTF8MB4      = 45
)

// mysqlLoginHead returns the first half of a login, which alone is an SSLRequest.
func mysqlLoginHead(capabilities uint32, charset byte) []byte {
	login := binary.LittleEndian.AppendUint32(nil, capabilities)
	login = binary.LittleEndian.AppendUint32(login, 1<<24) // the longest packet
	return append(append(login, charset), make([]byte, 23)...)
}

// loginMySQL answers the handshake with a login that fails: a server counts a client
// that hangs up without it as one that broke off, and in the end blocks its host.
func loginMySQL(sequence byte, capabilities uint32) func(io.ReadWriter) error {
	return func(c io.ReadWriter) error {
		login := append(mysqlLoginHead(capabilities, mysqlUTF8), "greetprobe\x00"+"\x00"+"mysql_native_password\x00"...) // user, no password, plugin
		if err := sendMySQL(c, sequence, login); err != nil {
			return err
		}
		answer := make([]byte, 5)
		for range 3 {
			if _, err := io.ReadFull(c, answer); err != nil {
				return err
			}
			rest := int64(answer[0]) | int64(answer[1])<<8 | int64(answer[2])<<16
			if _, err := io.CopyN(io.Discard, c, max(rest-1, 0)); err != nil {
				return err
			}
			switch answer[4] {
			case 0: // a user without password: COM_QUIT
				return sendMySQL(c, 0, []byte{1})
			case 254: // another plugin: no password for it either
				if err := sendMySQL(c, answer[3]+1, nil); err != nil {
					return err
				}
			default:
				return nil
			}
		}
		return nil
	}
}

// sendMySQL sends a packet with that sequence number.
func sendMySQL(c io.Writer, sequence byte, payload []byte) error {
	packet := []byte{byte(len(payload)), byte(len(payload) >> 8), 0, sequence}
	_, err := c.Write(append(packet, payload...))
	return err
}

// mysqlPacket returns the size of the packet that a MySQL or MariaDB server sends as its greeting. It has three
// bytes of length, the sequence number 0, and then the protocol version 10, or 255 for an error. The byte 10 is
// also a newline, but does not end a line here.
func mysqlPacket(said []byte) (size int, ok bool) {
	if len(said) < 5 || said[0] == '\n' || said[1] == '\n' || said[2] != 0 || said[3] != 0 || said[4] != 10 && said[4] != 255 {
		return 0, false
	}
	return 4 + (int(said[0]) | int(said[1])<<8), true
}
