package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"greetd.example/internal/exporter"
	"greetd.example/internal/words"
	"greetd.example/pkg/probe"
)

// The keys of a module, and of its tls_config, that have the meaning of a flag. If blackbox_exporter has such a key, the
// name is the same.
var (
	moduleKeys = []string{
		"timeout", "connect_timeout", "read_timeout", "idle", "max_bytes",
		"protocol", "expect", "expect_all", "regex", "reject", "send", "send_first", "quit", "connect_only",
		"starttls", "ehlo", "tls", "proxy", "source_ip_address",
	}
	tlsConfigKeys = []string{"server_name", "ca_file", "insecure_skip_verify", "cert_file", "key_file", "min_version", "max_version"}
)

// otherNames has the flags whose name is not that of the key.
var otherNames = map[string]string{
	"source_ip_address": "source", "server_name": "sni", "ca_file": "ca", "insecure_skip_verify": "insecure",
	"cert_file": "cert", "key_file": "key", "min_version": "tls-min", "max_version": "tls-max",
}

func flagOf(key string) string { return cmp.Or(otherNames[key], strings.ReplaceAll(key, "_", "-")) }

// keyOf returns the key with the meaning of a flag, and the flag itself if there is none.
func keyOf(flag string) string {
	is := func(key string) bool { return flagOf(key) == flag }
	if i := slices.IndexFunc(moduleKeys, is); i >= 0 {
		return moduleKeys[i]
	}
	if i := slices.IndexFunc(tlsConfigKeys, is); i >= 0 {
		return "tls_config." + tlsConfigKeys[i]
	}
	return flag
}

// structuredKeys are the keys of a module that do not correspond to one flag.
var structuredKeys = []string{"steps", "tls_config", "ip_protocol"}

// blackboxKeys has, for keys of blackbox_exporter that are not supported, what to write instead.
var blackboxKeys = map[string]string{
	"prober":                "every module is of TCP here; leave it out",
	"tcp":                   "its keys are those of the module here: write them one level up",
	"query_response":        "write steps, whose send has \\r\\n at its end where the protocol wants it",
	"preferred_ip_protocol": "both are tried here; write ip_protocol for one of them only",
	"ip_protocol_fallback":  "both are tried here; write ip_protocol for one of them only",
	"expect_bytes":          "write expect, or regex",
}

// stepKeys are the keys of a step, in the order in which they are carried out.
var stepKeys = []string{"expect", "reject", "send", "starttls"}

// A configFile collects the mistakes of a file, each with its line.
type configFile struct {
	name string
	errs []lineError
}

// A lineError is a mistake in a line.
type lineError struct {
	line int
	error
}

func (c *configFile) wrong(line int, format string, args ...any) {
	err := fmt.Errorf("%s:%d: "+format, append([]any{c.name, line}, args...)...)
	c.errs = append(c.errs, lineError{line, err})
}

// err joins all mistakes, in the order of the file.
func (c *configFile) err() error {
	slices.SortStableFunc(c.errs, func(a, b lineError) int { return a.line - b.line })
	var errs []error
	for _, e := range c.errs {
		errs = append(errs, e.error)
	}
	return errors.Join(errs...)
}

func builtinConfig() *exporter.Config {
	return &exporter.Config{Modules: map[string]*probe.Probe{exporter.DefaultModule: new(probe.Probe)}}
}

// readConfig reads a configuration of greetprobe serve. The error has a line for each mistake.
func readConfig(name string) (*exporter.Config, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	document, err := onlyDocument(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	c := configFile{name: name}
	config := builtinConfig()
	if len(document.Content) > 0 {
		for _, e := range c.entries("the configuration", document.Content[0], []string{"modules", "allow"}, nil) {
			switch e.key {
			case "modules":
				c.modules(e.value, config)
			case "allow":
				c.allow(e.value, &config.Allow)
			}
		}
	}
	return config, c.err()
}

// onlyDocument parses text, which must not have a second document: its modules would be missing without notice. The
// document is empty if text is. An error begins with the line, or with a space.
func onlyDocument(text []byte) (document yaml.Node, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var second yaml.Node
	err = decoder.Decode(&document)
	if err == nil {
		err = decoder.Decode(&second)
	}
	switch {
	case err == nil:
		return document, fmt.Errorf("%d: a second document begins here; put everything into the first, and remove the line ---", second.Line)
	case errors.Is(err, io.EOF):
		return document, nil
	}
	return document, fmt.Errorf(" %s", strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
}

// An item is a key of a mapping with its value.
type item struct {
	key   string
	line  int
	value *yaml.Node
}

// entries returns the keys of a mapping with their values, each key once. A key that is not in known is a mistake;
// remedies can have advice for it. If known is nil, every key is valid. Keys that << merges come last, and only
// if the mapping does not have them itself.
func (c *configFile) entries(what string, node *yaml.Node, known []string, remedies map[string]string) (all []item) {
	node = resolve(node)
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil
	case node.Kind != yaml.MappingNode:
		c.wrong(node.Line, "%s: must be keys with values", what)
		return nil
	}
	var merged []*yaml.Node
	seen := make(map[string]bool)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Tag == "!!merge":
			if merged = append(merged, value); resolve(value).Kind == yaml.SequenceNode {
				merged = append(merged[:len(merged)-1], resolve(value).Content...)
			}
			continue
		case seen[key.Value]:
			c.wrong(key.Line, "%s: %s is there twice; remove one of them", what, words.Quote(key.Value))
			continue
		case known != nil && !slices.Contains(known, key.Value):
			c.wrong(key.Line, "%s: unknown key %s; %s", what, words.Quote(key.Value), remedy(key.Value, known, remedies))
			continue
		}
		seen[key.Value] = true
		all = append(all, item{key.Value, key.Line, resolve(value)})
	}
	for _, node := range merged {
		for _, e := range c.entries(what, node, known, remedies) {
			if !seen[e.key] {
				seen[e.key] = true
				all = append(all, e)
			}
		}
	}
	return all
}

// resolve returns the node that an alias refers to. It returns other nodes unchanged.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func remedy(key string, known []string, remedies map[string]string) string {
	if text := remedies[key]; text != "" {
		return text
	}
	if near := words.Nearest(key, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "there are " + strings.Join(known, ", ")
}

func (c *configFile) modules(node *yaml.Node, config *exporter.Config) {
	for _, e := range c.entries("modules", node, nil, nil) {
		if e.key == "" {
			c.wrong(e.line, "modules: a module needs a name")
			continue
		}
		if p := c.module(e); p != nil {
			config.Modules[e.key] = p
		}
	}
}

// module reads one module. It sets the flags that correspond to its keys, so that mistakes are found by the checks
// of the flags.
func (c *configFile) module(e item) *probe.Probe {
	m := module{configFile: c, what: "module " + words.Quote(e.key), lines: make(map[string]int)}
	cmd := &cobra.Command{}
	m.probe.register(cmd)
	m.flags = cmd.Flags()
	before := len(c.errs)
	for _, e := range c.entries(m.what, e.value, slices.Concat(moduleKeys, structuredKeys), blackboxKeys) {
		switch e.key {
		case "steps":
			m.steps(e.value)
		case "tls_config":
			for _, e := range m.entries(m.what+": tls_config", e.value, tlsConfigKeys, nil) {
				m.set(e, "tls_config."+e.key)
			}
		case "ip_protocol":
			m.family(e)
		default:
			m.set(e, e.key)
		}
	}
	if len(c.errs) > before {
		return nil
	}
	p, err := m.probe.probe(m.flags)
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		m.explain(e.line, err)
		return nil
	}
	return p
}

// A module is a module that is being read.
type module struct {
	*configFile
	what  string
	probe probeFlags
	flags *pflag.FlagSet
	lines map[string]int // lines of the keys that are set, by flag
}

// wanted has the description of a valid value, by the type of the flag.
var wanted = map[string]string{
	"duration": "a duration with its unit, such as 5s", "int": "a whole number", "bool": "true or false",
	"string": "one text", "stringArray": "one text or a list of them",
}

// set sets the flag of e to its value. key is the name of e in messages.
func (m *module) set(e item, key string) {
	name := flagOf(e.key)
	flag := m.flags.Lookup(name)
	values := []*yaml.Node{e.value}
	if e.value.Kind == yaml.SequenceNode && flag.Value.Type() == "stringArray" {
		values = e.value.Content
	}
	m.lines[name] = e.line
	for _, value := range values {
		value = resolve(value)
		text := value.Value
		if name == "tls-min" || name == "tls-max" {
			text = tlsVersionOf(text)
		}
		bad := value.Kind != yaml.ScalarNode || value.Tag == "!!null" || flag.Value.Type() == "bool" && value.Tag != "!!bool"
		if bad || flag.Value.Set(text) != nil {
			m.wrong(value.Line, "%s: %s: must be %s", m.what, key, wanted[flag.Value.Type()])
			return
		}
	}
	flag.Changed = true
}

// tlsVersionOf converts a version of blackbox_exporter, such as TLS12, to that of the flags, such as 1.2.
func tlsVersionOf(text string) string {
	if digits, ok := strings.CutPrefix(text, "TLS"); ok && len(digits) == 2 {
		return digits[:1] + "." + digits[1:]
	}
	return text
}

func (m *module) family(e item) {
	switch e.value.Value {
	case "ip4":
		m.probe.ipv4 = true
	case "ip6":
		m.probe.ipv6 = true
	default:
		m.wrong(e.line, "%s: ip_protocol: must be ip4 or ip6, or left out for both", m.what)
	}
}

// steps reads a list of steps. Each item is a text as for --step, or a mapping as in query_response of
// blackbox_exporter.
func (m *module) steps(node *yaml.Node) {
	if node.Kind != yaml.SequenceNode {
		m.wrong(node.Line, "%s: steps: must be a list", m.what)
		return
	}
	for _, step := range node.Content {
		step = resolve(step)
		if step.Kind == yaml.ScalarNode {
			m.step(step.Line, step.Value)
			continue
		}
		done := m.entries(m.what+": steps", step, stepKeys, blackboxKeys)
		slices.SortStableFunc(done, func(a, b item) int { return slices.Index(stepKeys, a.key) - slices.Index(stepKeys, b.key) })
		for _, e := range done {
			switch {
			case e.value.Kind != yaml.ScalarNode:
				m.wrong(e.line, "%s: steps: %s: must be one text", m.what, e.key)
			case e.key == "send" && strings.Contains(e.value.Value, "${"):
				m.wrong(e.line, "%s: steps: send: nothing is put in the place of ${...} here; write the text itself, and \\x24 for a $", m.what)
			case e.key == "starttls" && e.value.Value == "true":
				m.step(e.line, "starttls")
			case e.key == "starttls" && e.value.Value == "false":
			default:
				m.step(e.line, e.key+" "+e.value.Value)
			}
		}
	}
}

func (m *module) step(line int, text string) {
	if _, err := probe.ParseStep(text); err != nil {
		m.wrong(line, "%s: steps: %w", m.what, err)
		return
	}
	m.probe.step = append(m.probe.step, text)
}

// flagInText matches a flag in a message.
var flagInText = regexp.MustCompile(`--[a-z][a-z-]*`)

// explain adds the mistakes that the checks of the flags have found. It replaces flags in the messages by keys. The
// line of a mistake is that of the first key in its message, or that of the module.
func (m *module) explain(line int, err error) {
	for text := range strings.Lines(err.Error()) {
		text, at := strings.TrimSuffix(text, "\n"), 0
		text = flagInText.ReplaceAllStringFunc(text, func(flag string) string {
			name := flag[2:]
			if at == 0 {
				at = m.lines[name]
			}
			return keyOf(name)
		})
		m.wrong(cmp.Or(at, line), "%s: %s", m.what, text)
	}
}

// allow reads the section allow, with the targets and ports that may be probed.
func (c *configFile) allow(node *yaml.Node, to *exporter.Allow) {
	for _, e := range c.entries("allow", node, []string{"targets", "ports"}, nil) {
		values := []*yaml.Node{e.value}
		if e.value.Kind == yaml.SequenceNode {
			values = e.value.Content
		}
		if len(values) == 0 {
			c.wrong(e.line, "allow: %s: an empty list allows nothing; leave the key out to allow everything", e.key)
		}
		for _, value := range values {
			value = resolve(value)
			if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
				c.wrong(value.Line, "allow: %s: must be one text or a list of them", e.key)
				continue
			}
			var err error
			if e.key == "ports" {
				err = allowPorts(value.Value, to)
			} else {
				err = allowTarget(value.Value, to)
			}
			if err != nil {
				c.wrong(value.Line, "allow: %s: %w", e.key, err)
			}
		}
	}
}

func allowTarget(text string, to *exporter.Allow) error {
	if socket, ok := strings.CutPrefix(text, "unix:"); ok {
		to.Unix = append(to.Unix, socket)
		return nil
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		to.Networks = append(to.Networks, network.Masked())
		return nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		to.Networks = append(to.Networks, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	if _, err := path.Match(text, ""); err != nil || text == "" || strings.ContainsAny(text, "/:[] ") {
		return fmt.Errorf("%s is not a network, address, host name or unix:/PATH; write 10.0.0.0/8, mail.example or *.example, without a port", words.Quote(text))
	}
	to.Names = append(to.Names, strings.ToLower(strings.TrimSuffix(text, ".")))
	return nil
}

func allowPorts(text string, to *exporter.Allow) error {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	until, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || from > until {
		return fmt.Errorf("%s is not a port or a range; write 25 or 10000-10010", words.Quote(text))
	}
	to.Ports = append(to.Ports, exporter.Ports{First: uint16(from), Last: uint16(until)})
	return nil
}
