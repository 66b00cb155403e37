// Package greeting turns a template into a greeter: it is parsed once, and appended
// for each visit.
package greeting

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"greetd.example/pkg/service"
)

// MaxLength is how long a greeting may be, in bytes.
const MaxLength = 64 << 10

// A Greeting is a parsed template. It is a [service.Greeter].
type Greeting struct {
	hostname string
	parts    []part             // where the template is nothing but text and fields
	template *template.Template // where it is more than that
}

// A part appends its share of the greeting.
type part func(dst []byte, v visitor) []byte

// visitor is what a template sees. Its methods are the fields.
type visitor struct {
	peer     service.Peer
	hostname string
}

// IP is the client's address, or "unix" for the client of a unix socket.
func (v visitor) IP() string { return string(appendIP(nil, v.peer.Remote)) }

// Port is the client's port, 0 for the client of a unix socket.
func (v visitor) Port() int { return int(v.peer.Remote.Port()) }

// Listener is the name of the listener that the client reached.
func (v visitor) Listener() string { return v.peer.Listener }

// LocalIP is the address that the client reached, or "unix".
func (v visitor) LocalIP() string { return string(appendIP(nil, v.peer.Local)) }

// LocalPort is the port that the client reached, 0 for a unix socket.
func (v visitor) LocalPort() int { return int(v.peer.Local.Port()) }

// Hostname is this machine's name when the configuration was loaded.
func (v visitor) Hostname() string { return v.hostname }

// Time is when the client arrived.
func (v visitor) Time() Time { return Time{v.peer.Arrived} }

// Visit is the number of the visit since the daemon began.
func (v visitor) Visit() uint64 { return v.peer.ID }

// Time prints itself as RFC 3339 has it, in UTC and seconds, and has the methods of
// time.Time for who wants it otherwise.
type Time struct{ time.Time }

// String implements fmt.Stringer.
func (t Time) String() string { return string(t.append(nil)) }

func (t Time) append(dst []byte) []byte { return t.UTC().AppendFormat(dst, time.RFC3339) }

// fields are what a template can say, and how that is appended.
var fields = map[string]part{
	"IP":        func(dst []byte, v visitor) []byte { return appendIP(dst, v.peer.Remote) },
	"Port":      func(dst []byte, v visitor) []byte { return strconv.AppendInt(dst, int64(v.Port()), 10) },
	"Listener":  func(dst []byte, v visitor) []byte { return append(dst, v.peer.Listener...) },
	"LocalIP":   func(dst []byte, v visitor) []byte { return appendIP(dst, v.peer.Local) },
	"LocalPort": func(dst []byte, v visitor) []byte { return strconv.AppendInt(dst, int64(v.LocalPort()), 10) },
	"Hostname":  func(dst []byte, v visitor) []byte { return append(dst, v.hostname...) },
	"Time":      func(dst []byte, v visitor) []byte { return v.Time().append(dst) },
	"Visit":     func(dst []byte, v visitor) []byte { return strconv.AppendUint(dst, v.peer.ID, 10) },
}

func appendIP(dst []byte, addr netip.AddrPort) []byte {
	if !addr.IsValid() {
		return append(dst, "unix"...)
	}
	return addr.Addr().AppendTo(dst)
}

// sample is the visitor for whom every template must work before it is used.
var sample = service.Peer{
	ID:       18446744073709551615,
	Listener: strings.Repeat("x", 64),
	Remote:   netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	Local:    netip.MustParseAddrPort("[2001:db8::1]:10000"),
	Arrived:  time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

// Parse makes a Greeting of text, a template as text/template has it, with the
// fields .IP .Port .Listener .LocalIP .LocalPort .Hostname .Time and .Visit. A
// template that would go wrong, or need not end, is an error: an unknown field
// anywhere in it, a loop, a template within it, more than MaxLength.
func Parse(text string) (*Greeting, error) {
	t, err := template.New("greeting").Parse(text)
	if err != nil {
		return nil, plain(err)
	}
	if err := check(t); err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	g := &Greeting{hostname: hostname, template: t}
	if parts, ok := compile(t.Root); ok {
		g.parts, g.template = parts, nil
	}
	said, err := g.AppendGreeting(nil, sample)
	switch {
	case errors.Is(err, errTooLong), len(said) > MaxLength:
		return nil, errTooLong
	case err != nil:
		return nil, plain(err)
	}
	return g, nil
}

// plain leaves the names of Go's out of a template's error: it speaks of "line 3".
func plain(err error) error {
	text := err.Error()
	text = strings.TrimPrefix(text, "template: greeting:")
	if line, rest, ok := strings.Cut(text, ":"); ok {
		if _, err := strconv.Atoi(line); err == nil {
			return fmt.Errorf("line %s of the template: %s", line, strings.TrimSpace(rest))
		}
	}
	return fmt.Errorf("template: %s", text)
}

// AppendGreeting implements [service.Greeter]. A greeting that is longer than MaxLength
// for this client, though not for the sample, is an error.
func (g *Greeting) AppendGreeting(dst []byte, p service.Peer) ([]byte, error) {
	v := visitor{p, g.hostname}
	if g.template == nil {
		for _, appendPart := range g.parts {
			dst = appendPart(dst, v)
		}
		return dst, nil
	}
	out := appender{dst, MaxLength}
	err := g.template.Execute(&out, v)
	return out.text, err
}

var errTooLong = fmt.Errorf("is too long: at most %d bytes can be said", MaxLength)

// An appender takes what there is room for.
type appender struct {
	text []byte
	room int
}

func (a *appender) Write(p []byte) (int, error) {
	if a.room -= len(p); a.room < 0 {
		return 0, errTooLong
	}
	a.text = append(a.text, p...)
	return len(p), nil
}

// compile makes parts of a template that is nothing but text and fields.
func compile(root *parse.ListNode) ([]part, bool) {
	var parts []part
	for _, node := range root.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			parts = append(parts, func(dst []byte, _ visitor) []byte { return append(dst, node.Text...) })
		case *parse.ActionNode:
			field, ok := onlyField(node.Pipe)
			if !ok {
				return nil, false
			}
			parts = append(parts, fields[field])
		default:
			return nil, false
		}
	}
	return parts, true
}

func onlyField(pipe *parse.PipeNode) (string, bool) {
	if len(pipe.Decl) != 0 || len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) != 1 {
		return "", false
	}
	field, ok := pipe.Cmds[0].Args[0].(*parse.FieldNode)
	if !ok || len(field.Ident) != 1 {
		return "", false
	}
	return field.Ident[0], true
}

// check refuses what need not end, and fields that do not exist, wherever they are.
func check(t *template.Template) error {
	for _, associated := range t.Templates() {
		if associated.Name() != t.Name() {
			return errors.New("template: {{define}} and {{block}} have no place in a greeting")
		}
	}
	if t.Tree == nil || t.Root == nil {
		return nil
	}
	return checkNode(t.Root)
}

func checkNode(node parse.Node) error {
	switch node := node.(type) {
	case *parse.ListNode:
		if node == nil {
			return nil
		}
		return checkAll(node.Nodes)
	case *parse.ActionNode:
		return checkNode(node.Pipe)
	case *parse.PipeNode:
		if node == nil {
			return nil
		}
		return checkAll(node.Cmds)
	case *parse.CommandNode:
		return checkAll(node.Args)
	case *parse.ChainNode:
		return checkNode(node.Node)
	case *parse.IfNode:
		return checkBranch(&node.BranchNode)
	case *parse.WithNode:
		return errors.New("template: {{with}} has no place in a greeting, {{if}} has")
	case *parse.RangeNode:
		return errors.New("template: {{range}} has no place in a greeting: there is nothing to go through")
	case *parse.TemplateNode:
		return errors.New("template: {{template}} has no place in a greeting")
	case *parse.FieldNode:
		if _, ok := fields[node.Ident[0]]; !ok {
			return fmt.Errorf("template: there is no field .%s: the fields are %s", node.Ident[0], known())
		}
	}
	return nil
}

func checkBranch(node *parse.BranchNode) error {
	if err := checkNode(node.Pipe); err != nil {
		return err
	}
	if err := checkNode(node.List); err != nil {
		return err
	}
	return checkNode(node.ElseList)
}

func checkAll[N parse.Node](nodes []N) error {
	for _, node := range nodes {
		if err := checkNode(node); err != nil {
			return err
		}
	}
	return nil
}

func known() string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, "."+name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
