// Package greeting makes a greeter from a template. The template is parsed once, and formatted for each visit.
package greeting

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"
	"time"

	"greetd.example/pkg/service"
)

// MaxLength is the maximum length of a greeting, in bytes.
const MaxLength = 64 << 10

// A Greeting is a parsed template. It is a [service.Greeter].
type Greeting struct {
	hostname string
	parts    []part             // for a template with nothing but text and fields
	template *template.Template // for other templates; else nil
	isFixed  bool

	usesLocal bool
}

// Fixed returns the greeting, and whether it is the same for every client. It is if the template has nothing but text.
func (g *Greeting) Fixed() (greeting service.Static, fixed bool) {
	if !g.isFixed {
		return "", false
	}
	text, _ := g.AppendGreeting(nil, service.Peer{}) // texts can't fail
	return service.Static(text), true
}

// UsesLocal reports whether the greeting has the address that the client reached.
func (g *Greeting) UsesLocal() bool { return g.usesLocal }

// client has the fields that a template can use. A client of a unix socket has the address "unix" and port 0. Hostname is
// the host name of this machine at the time when the configuration was loaded. The fields that begin with Proxy are empty
// if no proxy has sent them.
type client struct {
	Hostname  string
	IP        string
	Listener  string
	LocalIP   string
	LocalPort int
	Port      int
	Time      Time
	Visit     uint64

	ProxyALPN            string
	ProxyAWSEndpointID   string
	ProxyAuthority       string
	ProxyAzureEndpointID string
	ProxyIP              string
	ProxySSLCommonName   string
	ProxySSLVerified     bool
	ProxySSLVersion      string
	ProxyUniqueID        string
}

var fieldNames = []string{
	"Hostname", "IP", "Listener", "LocalIP", "LocalPort", "Port", "Time", "Visit",
	"ProxyALPN", "ProxyAWSEndpointID", "ProxyAuthority", "ProxyAzureEndpointID", "ProxyIP", "ProxySSLCommonName", "ProxySSLVerified",
	"ProxySSLVersion", "ProxyUniqueID",
}

// A part appends one part of a greeting that is formatted without text/template: a text or a field.
type part func(dst []byte, hostname string, p service.Peer) []byte

// fieldParts has the part of each field. It formats the field without an allocation.
var fieldParts = map[string]part{
	"Hostname":  func(dst []byte, hostname string, _ service.Peer) []byte { return append(dst, hostname...) },
	"IP":        func(dst []byte, _ string, p service.Peer) []byte { return appendIP(dst, p.Remote) },
	"Listener":  func(dst []byte, _ string, p service.Peer) []byte { return append(dst, p.Listener...) },
	"LocalIP":   func(dst []byte, _ string, p service.Peer) []byte { return appendIP(dst, p.Local) },
	"LocalPort": func(dst []byte, _ string, p service.Peer) []byte { return appendPort(dst, p.Local) },
	"Port":      func(dst []byte, _ string, p service.Peer) []byte { return appendPort(dst, p.Remote) },
	"Time":      func(dst []byte, _ string, p service.Peer) []byte { return Time{p.Arrived}.append(dst) },
	"Visit":     func(dst []byte, _ string, p service.Peer) []byte { return strconv.AppendUint(dst, p.ID, 10) },
	"ProxyIP":   func(dst []byte, _ string, p service.Peer) []byte { return appendProxyIP(dst, p.Proxy) },

	"ProxyALPN":            proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.ALPN...) }),
	"ProxyAWSEndpointID":   proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.AWSEndpointID...) }),
	"ProxyAuthority":       proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.Authority...) }),
	"ProxyAzureEndpointID": proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.AzureEndpointID...) }),
	"ProxySSLCommonName":   proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.SSLCommonName...) }),
	"ProxySSLVerified":     proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return strconv.AppendBool(dst, i.SSLVerified) }),
	"ProxySSLVersion":      proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.SSLVersion...) }),
	"ProxyUniqueID":        proxyPart(func(dst []byte, i *service.ProxyInfo) []byte { return append(dst, i.UniqueID...) }),
}

// proxyPart returns the part of a field with information of a proxy.
func proxyPart(appendTo func(dst []byte, info *service.ProxyInfo) []byte) part {
	return func(dst []byte, _ string, p service.Peer) []byte { return appendTo(dst, infoOf(p)) }
}

var noProxyInfo service.ProxyInfo

// infoOf returns the information of the proxy of p. It is empty if there is none.
func infoOf(p service.Peer) *service.ProxyInfo { return cmp.Or(p.ProxyInfo, &noProxyInfo) }

func appendProxyIP(dst []byte, proxy netip.AddrPort) []byte {
	if !proxy.IsValid() {
		return dst
	}
	return proxy.Addr().AppendTo(dst)
}

func appendIP(dst []byte, addr netip.AddrPort) []byte {
	if !addr.IsValid() {
		return append(dst, "unix"...)
	}
	return addr.Addr().AppendTo(dst)
}

func appendPort(dst []byte, addr netip.AddrPort) []byte {
	return strconv.AppendUint(dst, uint64(addr.Port()), 10)
}

// Time is a time that is printed as in RFC 3339, in UTC, with seconds. It has the methods of time.Time for other formats.
type Time struct{ time.Time }

// String implements fmt.Stringer.
func (t Time) String() string { return string(t.append(nil)) }

func (t Time) append(dst []byte) []byte { return t.UTC().AppendFormat(dst, time.RFC3339) }

// methodNames are the methods of a time that a template may call. Of these, a month and a day of the week only have
// String.
var methodNames = []string{
	"Add", "AddDate", "Day", "Format", "Hour", "IsDST", "Local", "Minute", "Month", "Nanosecond", "Round", "Second", "String",
	"Truncate", "UTC", "Unix", "UnixMicro", "UnixMilli", "UnixNano", "Weekday", "Year", "YearDay",
}

// functionNames are the functions of text/template, except call, since there are no functions to call.
var functionNames = []string{
	"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice",
	"print", "println", "printf", "html", "js", "urlquery",
}

// limited replaces the functions whose result can be longer than their arguments. With variables, a text could otherwise
// grow without limit.
var limited = template.FuncMap{
	"print":    func(args ...any) (string, error) { return limit(fmt.Sprint(args...)) },
	"println":  func(args ...any) (string, error) { return limit(fmt.Sprintln(args...)) },
	"printf":   func(format string, args ...any) (string, error) { return limit(fmt.Sprintf(format, args...)) },
	"html":     func(args ...any) (string, error) { return limit(template.HTMLEscaper(args...)) },
	"js":       func(args ...any) (string, error) { return limit(template.JSEscaper(args...)) },
	"urlquery": func(args ...any) (string, error) { return limit(template.URLQueryEscaper(args...)) },
}

func limit(text string) (string, error) {
	if len(text) > MaxLength {
		return "", errTooLong
	}
	return text, nil
}

var errTooLong = fmt.Errorf("is too long: at most %d bytes can be sent", MaxLength)

// sample is a client for which every template must work before it is used. Its proxy has sent all information. A template
// must also work for a client without a proxy.
var sample = service.Peer{
	ID:       18446744073709551615,
	Listener: strings.Repeat("x", 64),
	Remote:   netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	Local:    netip.MustParseAddrPort("[2001:db8::1]:10000"),
	Proxy:    netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:65535"),
	Arrived:  time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	ProxyInfo: &service.ProxyInfo{
		Authority: strings.Repeat("a", 253), ALPN: "http/1.1", UniqueID: strings.Repeat("u", 128), SSLVersion: "TLSv1.3",
		SSLCommonName: strings.Repeat("c", 64), SSLVerified: true, AWSEndpointID: "vpce-08d2bf15fac5001c9", AzureEndpointID: "4294967295",
	},
}

const templateName = "greeting"

// Parse returns the Greeting of text, a template for text/template. Its fields are .IP .Port .Listener .LocalIP .LocalPort
// .Hostname .Time and .Visit, and those that begin with .Proxy. Parse returns an error for a template that could fail or
// never end: for an unknown name anywhere in it, a loop, a template inside it, a verb of printf that does not fit its
// value, and for more than MaxLength bytes.
func Parse(text string) (*Greeting, error) {
	parsed, err := template.New(templateName).Funcs(limited).Parse(text)
	if err != nil {
		return nil, plain(err)
	}
	if len(parsed.Templates()) > 1 || parsed.Tree == nil {
		return nil, errors.New("template: {{define}} and {{block}} are not supported in a greeting")
	}
	root := parsed.Root
	if err := check(root); err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	g := &Greeting{hostname: hostname, usesLocal: strings.Contains(text, ".LocalIP") || strings.Contains(text, ".LocalPort")}
	if parts, ok := compile(root); ok {
		g.parts = parts
	} else {
		g.template = parsed
		if misfit := printfMisfit(parsed); misfit != "" {
			return nil, fmt.Errorf("template: a verb of printf does not fit its value: it would give %.100q; %%v fits every value", misfit)
		}
	}
	direct := sample
	direct.Proxy, direct.ProxyInfo = netip.AddrPort{}, nil
	for _, p := range []service.Peer{sample, direct} {
		if err := g.try(text, p); err != nil {
			return nil, err
		}
	}
	g.isFixed = !slices.ContainsFunc(root.Nodes, func(n parse.Node) bool { return n.Type() != parse.NodeText })
	return g, nil
}

// try returns the reason why the template text must not be used for p; nil if there is none.
func (g *Greeting) try(text string, p service.Peer) error {
	greeting, err := g.AppendGreeting(nil, p)
	switch {
	case errors.Is(err, errTooLong), len(greeting) > MaxLength:
		return errTooLong
	case err != nil:
		return err
	case !strings.Contains(text, "%!") && bytes.Contains(greeting, []byte("%!")):
		return fmt.Errorf("template: a verb of printf does not fit its value: the greeting would be %.100q; %%v fits every value", greeting)
	}
	return nil
}

// failedAt returns a pattern for the beginning of an error of text/template, with the line, the column and the expression
// that failed.
var failedAt = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^template: ` + templateName + `:(\d+)(?::\d+)?: (?:executing "` + templateName + `" at <(.*?)>: )?`)
})

// plain removes names of Go from the error of a template, and writes its place as "line 3".
func plain(err error) error {
	text := err.Error()
	if strings.Contains(text, ": function ") && strings.HasSuffix(text, " not defined") {
		text += functionsAre
	}
	if strings.Contains(text, "bad character U+007D") {
		text = strings.NewReplacer(" in operand", "", "bad character U+007D '}'", "a } stands alone: an action ends with }}, as in {{.IP}}").Replace(text)
	}
	at := failedAt().FindStringSubmatch(text)
	if at == nil {
		return fmt.Errorf("template: %s", strings.TrimPrefix(text, "template: "+templateName+": "))
	}
	reason := text[len(at[0]):]
	if at[2] != "" {
		reason = fmt.Sprintf("{{%s}}: %s", at[2], reason)
	}
	return fmt.Errorf("line %s of the template: %s", at[1], reason)
}

var functionsAre = ": the functions are " + strings.Join(functionNames, " ")

// AppendGreeting implements [service.Greeter]. It returns an error if the greeting for this client is longer than
// MaxLength, although that for the sample is not.
func (g *Greeting) AppendGreeting(dst []byte, p service.Peer) ([]byte, error) {
	if g.template != nil {
		return g.execute(dst, p)
	}
	for _, appendPart := range g.parts {
		dst = appendPart(dst, g.hostname, p)
	}
	return dst, nil
}

// clientOf returns the fields of p for a template.
func clientOf(hostname string, p service.Peer) client {
	proxy := infoOf(p)
	return client{
		Hostname:  hostname,
		IP:        string(appendIP(nil, p.Remote)),
		Listener:  p.Listener,
		LocalIP:   string(appendIP(nil, p.Local)),
		LocalPort: int(p.Local.Port()),
		Port:      int(p.Remote.Port()),
		Time:      Time{p.Arrived},
		Visit:     p.ID,

		ProxyALPN:            proxy.ALPN,
		ProxyAWSEndpointID:   proxy.AWSEndpointID,
		ProxyAuthority:       proxy.Authority,
		ProxyAzureEndpointID: proxy.AzureEndpointID,
		ProxyIP:              string(appendProxyIP(nil, p.Proxy)),
		ProxySSLCommonName:   proxy.SSLCommonName,
		ProxySSLVerified:     proxy.SSLVerified,
		ProxySSLVersion:      proxy.SSLVersion,
		ProxyUniqueID:        proxy.UniqueID,
	}
}

func (g *Greeting) execute(dst []byte, p service.Peer) ([]byte, error) {
	w := limitedWriter{dst: dst, room: MaxLength}
	err := g.template.Execute(&w, clientOf(g.hostname, p))
	switch {
	case errors.Is(err, errTooLong):
		return dst, errTooLong
	case err != nil:
		return dst, plain(err)
	}
	return w.dst, nil
}

// A limitedWriter appends to dst, at most room further bytes.
type limitedWriter struct {
	dst  []byte
	room int
}

// Write implements [io.Writer].
func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		return 0, errTooLong
	}
	w.dst, w.room = append(w.dst, b...), w.room-len(b)
	return len(b), nil
}

// compile returns the parts of a template. It returns false if the template has more than text and fields.
func compile(root *parse.ListNode) ([]part, bool) {
	var parts []part
	for _, node := range root.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			parts = append(parts, func(dst []byte, _ string, _ service.Peer) []byte { return append(dst, node.Text...) })
		case *parse.ActionNode:
			name, isField := strings.CutPrefix(node.Pipe.String(), ".")
			part, alone := fieldParts[name]
			if !isField || !alone {
				return nil, false
			}
			parts = append(parts, part)
		default:
			return nil, false
		}
	}
	return parts, true
}

// check returns an error for constructs that might never end, and for unknown names, anywhere in node.
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
		return cmp.Or(check(node.Pipe), check(node.List), check(node.ElseList))
	case *parse.WithNode:
		return errors.New("template: {{with}} is not supported in a greeting: use {{if}}")
	case *parse.RangeNode:
		return errors.New("template: {{range}} is not supported in a greeting: there is no list to go through")
	case *parse.TemplateNode:
		return errors.New("template: {{template}} is not supported in a greeting")
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
		return errors.New("template: nil is not supported in a greeting: nothing is nil")
	case *parse.IdentifierNode:
		if node.Ident == "call" {
			return errors.New("template: there is nothing to call in a greeting" + functionsAre)
		}
	case *parse.NumberNode:
		return checkNumber(node)
	}
	return nil
}

// checkField checks a field such as .IP or .Time.Year. names are its parts without dots.
func checkField(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("template: a dot alone is not supported in a greeting: the fields are %s", known())
	}
	if !slices.Contains(fieldNames, names[0]) {
		return fmt.Errorf("template: there is no field .%s: the fields are %s", names[0], known())
	}
	return checkMethods(names[1:])
}

func checkMethods(names []string) error {
	for _, name := range names {
		if !slices.Contains(methodNames, name) {
			return fmt.Errorf("template: there is no .%s: what a .Time has is %s", name, strings.Join(methodNames, " "))
		}
	}
	return nil
}

func checkAll[N parse.Node](nodes []N) error {
	for _, node := range nodes {
		if err := check(node); err != nil {
			return err
		}
	}
	return nil
}

func known() string { return "." + strings.Join(fieldNames, " .") }

// checkNumber returns an error for a number whose type a greeting can't print, even in a branch that is not executed for
// the sample.
func checkNumber(n *parse.NumberNode) error {
	hex := strings.HasPrefix(strings.ToLower(n.Text), "0x")
	switch {
	case n.IsComplex:
		return fmt.Errorf("template: %s is a complex number: this is not supported in a greeting", n.Text)
	case n.IsUint && !n.IsInt && (hex || !strings.ContainsAny(n.Text, ".eE")):
		return fmt.Errorf("template: %s is too large a number", n.Text)
	}
	return nil
}
