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
	"text/template/parse"
	"time"

	"greetd.example/pkg/service"
)

// MaxLength is how long a greeting may be, in bytes.
const MaxLength = 64 << 10

// A Greeting is a parsed template. It is a [service.Greeter].
type Greeting struct {
	hostname string
	parts    []part      // where the template is nothing but text and fields
	tree     *parse.Tree // where it is more than that
	fixed    service.Static
	isFixed  bool
}

// Fixed returns what everybody is told, and whether that is the same: the template is
// nothing but text then.
func (g *Greeting) Fixed() (service.Static, bool) { return g.fixed, g.isFixed }

// A part appends its share of the greeting.
type part func(dst []byte, v visitor) []byte

// visitor is what a template sees.
type visitor struct {
	peer     service.Peer
	hostname string
}

// Time prints itself as RFC 3339 has it, in UTC and seconds, and has the methods of
// time.Time for who wants it otherwise.
type Time struct{ time.Time }

// String implements fmt.Stringer.
func (t Time) String() string { return string(t.append(nil)) }

func (t Time) append(dst []byte) []byte { return t.UTC().AppendFormat(dst, time.RFC3339) }

// A field of a visitor is appended, or it is a value.
type field struct {
	name   string
	append part
	value  func(v visitor) any
}

// fields are what a template can say. The client of a unix socket has the address "unix"
// and port 0; Hostname is this machine's when the configuration was loaded.
var fields = []field{
	text("Hostname", func(dst []byte, v visitor) []byte { return append(dst, v.hostname...) }),
	text("IP", func(dst []byte, v visitor) []byte { return appendIP(dst, v.peer.Remote) }),
	text("Listener", func(dst []byte, v visitor) []byte { return append(dst, v.peer.Listener...) }),
	text("LocalIP", func(dst []byte, v visitor) []byte { return appendIP(dst, v.peer.Local) }),
	number("LocalPort", func(v visitor) int { return int(v.peer.Local.Port()) }),
	number("Port", func(v visitor) int { return int(v.peer.Remote.Port()) }),
	{
		"Time",
		func(dst []byte, v visitor) []byte { return Time{v.peer.Arrived}.append(dst) },
		func(v visitor) any { return Time{v.peer.Arrived} },
	},
	number("Visit", func(v visitor) uint64 { return v.peer.ID }),
}

func text(name string, f part) field {
	return field{name, f, func(v visitor) any { return string(f(nil, v)) }}
}

func number[N int | uint64](name string, of func(v visitor) N) field {
	return field{
		name,
		func(dst []byte, v visitor) []byte { return strconv.AppendUint(dst, uint64(of(v)), 10) },
		func(v visitor) any { return of(v) },
	}
}

func (f field) called() string { return f.name }

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
// template that would go wrong, or need not end, is an error: a name that is unknown
// anywhere in it, a loop, a template within it, more than MaxLength.
func Parse(text string) (*Greeting, error) {
	trees, err := parse.Parse(treeName, text, "", "", functionNames())
	if err != nil {
		return nil, plain(err)
	}
	tree := trees[treeName]
	if len(trees) > 1 || tree == nil {
		return nil, errors.New("template: {{define}} and {{block}} have no place in a greeting")
	}
	if err := check(tree.Root); err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	g := &Greeting{hostname: hostname}
	if parts, ok := compile(tree.Root); ok {
		g.parts = parts
	} else {
		g.tree = tree
	}
	said, err := g.AppendGreeting(nil, sample)
	switch {
	case errors.Is(err, errTooLong), len(said) > MaxLength:
		return nil, errTooLong
	case err != nil:
		return nil, err
	}
	g.isFixed = !slices.ContainsFunc(tree.Root.Nodes, func(n parse.Node) bool { return n.Type() != parse.NodeText })
	if g.isFixed {
		g.fixed = service.Static(said)
	}
	return g, nil
}

const treeName = "greeting"

// plain leaves the names of Go's out of a template's error: it speaks of "line 3".
func plain(err error) error {
	text := err.Error()
	text = strings.TrimPrefix(text, "template: "+treeName+":")
	if strings.Contains(text, ": function ") && strings.HasSuffix(text, " not defined") {
		text += ": the functions are " + namesOf(functions, " ")
	}
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
	if g.tree != nil {
		return execute(g.tree, dst, v)
	}
	for _, appendPart := range g.parts {
		dst = appendPart(dst, v)
	}
	return dst, nil
}

var errTooLong = fmt.Errorf("is too long: at most %d bytes can be said", MaxLength)

// compile makes parts of a template that is nothing but text and fields.
func compile(root *parse.ListNode) ([]part, bool) {
	var parts []part
	for _, node := range root.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			parts = append(parts, func(dst []byte, _ visitor) []byte { return append(dst, node.Text...) })
		case *parse.ActionNode:
			name, ok := onlyField(node.Pipe)
			if !ok {
				return nil, false
			}
			parts = append(parts, named(fields, name).append)
		default:
			return nil, false
		}
	}
	return parts, true
}

// onlyField tells the field that is all of a pipeline.
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

// check refuses what need not end, and names that do not exist, wherever they are.
func check(node parse.Node) error {
	switch node := node.(type) {
	case *parse.ListNode:
		if node == nil {
			return nil
		}
		return checkAll(node.Nodes)
	case *parse.ActionNode:
		return check(node.Pipe)
	case *parse.PipeNode:
		for _, decl := range node.Decl {
			if decl.Ident[0] == "$" {
				return errors.New("template: $ is the client: give the variable a name")
			}
		}
		return checkAll(node.Cmds)
	case *parse.CommandNode:
		return checkAll(node.Args)
	case *parse.ChainNode:
		return errors.Join(check(node.Node), checkMethods(node.Field))
	case *parse.IfNode:
		return checkBranch(&node.BranchNode)
	case *parse.WithNode:
		return errors.New("template: {{with}} has no place in a greeting, {{if}} has")
	case *parse.RangeNode:
		return errors.New("template: {{range}} has no place in a greeting: there is nothing to go through")
	case *parse.TemplateNode:
		return errors.New("template: {{template}} has no place in a greeting")
	case *parse.FieldNode:
		return checkField(node.Ident)
	case *parse.VariableNode:
		if node.Ident[0] == "$" {
			return checkField(node.Ident[1:])
		}
		return checkMethods(node.Ident[1:])
	case *parse.DotNode:
		return checkField(nil)
	case *parse.NilNode:
		return errors.New("template: nil has no place in a greeting: nothing is nil")
	case *parse.NumberNode:
		_, err := constant(node)
		return err
	}
	return nil
}

// checkField looks at .IP or .Time.Year, without dots.
func checkField(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("template: a dot alone says nothing: the fields are %s", known())
	}
	if named(fields, names[0]) == nil {
		return fmt.Errorf("template: there is no field .%s: the fields are %s", names[0], known())
	}
	return checkMethods(names[1:])
}

func checkMethods(names []string) error {
	for _, name := range names {
		if named(methods, name) == nil {
			return fmt.Errorf("template: there is no .%s: what a .Time has is %s", name, namesOf(methods, " "))
		}
	}
	return nil
}

func checkBranch(node *parse.BranchNode) error {
	if err := check(node.Pipe); err != nil {
		return err
	}
	if err := check(node.List); err != nil {
		return err
	}
	return check(node.ElseList)
}

func checkAll[N parse.Node](nodes []N) error {
	for _, node := range nodes {
		if err := check(node); err != nil {
			return err
		}
	}
	return nil
}

func known() string {
	return "." + namesOf(fields, " .")
}
