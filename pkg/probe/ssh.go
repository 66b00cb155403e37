package probe

import (
	"encoding/binary"
	"io"
	"regexp"
	"slices"
)

// sshProducts takes the identification line apart.
var sshProducts = regexp.MustCompile(`(?m)^SSH-[0-9.]+-([A-Za-z][^_\s0-9-]*)[_-]?([0-9]\S*)?`)

// sshLine is the identification line, of at most 255 bytes (RFC 4253, section 4.2).
var sshLine = regexp.MustCompile(`^SSH-[0-9]+\.[0-9]+-[!-~].*$`)

// sshRefusals are what OpenSSH says in place of its identification line: to a source
// with a penalty (PerSourcePenalties), and beyond MaxStartups. Both pass.
var sshRefusals = []string{"Not allowed at this time", "Exceeded MaxStartups"}

// readSSH reads the identification line and the lines that may be before it. Where none
// comes, the last line is why.
func readSSH(said []byte, whole bool) reading {
	var before string
	for at := 0; ; {
		line, size := firstLine(said[at:], whole)
		at += size
		switch {
		case size == 0 && whole && before != "":
			return reading{kind: refusal, end: at, refused: Refusal{Text: before}}
		case size == 0:
			return reading{promised: at > 0}
		case slices.Contains(sshRefusals, string(line)):
			return reading{kind: refusal, end: at, refused: Refusal{Text: string(line), Temporary: true}}
		case sshLine.Match(line) && len(line) <= 253:
			return reading{kind: positive, end: at}
		case len(line) > 3 && string(line[:4]) == "SSH-":
			return reading{kind: foreign, end: at}
		case before == "" && guessed(said):
			return reading{kind: foreign, end: at}
		}
		before = string(line)
	}
}

// guessed reports whether said is certainly another protocol than SSH.
func guessed(said []byte) bool {
	name := guess(said, true)
	return name != Plain && name != "" && name != SSH
}

// leaveSSH sends an identification line and SSH_MSG_DISCONNECT, "by application"
// (RFC 4253, section 11.1), before keys are exchanged: the server logs that its client
// disconnected, and not that one hung up before it identified itself.
func leaveSSH(c io.ReadWriter) error {
	const disconnect, byApplication = 1, 11
	payload := binary.BigEndian.AppendUint32([]byte{disconnect}, byApplication)
	for _, text := range []string{"probed the greeting", ""} { // description and language
		payload = binary.BigEndian.AppendUint32(payload, uint32(len(text)))
		payload = append(payload, text...)
	}
	padding := 4 + 8 - (4+1+len(payload)+4)%8
	packet := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	packet = append(append(packet, byte(padding)), payload...)
	packet = append(packet, make([]byte, padding)...)
	_, err := c.Write(append([]byte("SSH-2.0-greetprobe\r\n"), packet...))
	return err
}
