package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"greetd.example/internal/words"
	"greetd.example/pkg/systemd"
)

const (
	mostBytes    = 4 << 20 // maximum size of a file
	mostValues   = 250_000 // maximum number of values in a file; those that an alias repeats count again
	mostSections = 1000    // maximum number of elements in a list of sections
)

// readFile returns the content of the regular file at path, of at most mostBytes. It returns an error for
// a FIFO or a device, and never waits for it.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, errors.New("is a directory: name the file in it")
	case !mode.IsRegular():
		return nil, fmt.Errorf("is %s: must be a regular file", kindOf(mode))
	case info.Size() > mostBytes:
		return nil, fmt.Errorf("has %d bytes, which is too long for a configuration: at most %d are read", info.Size(), mostBytes)
	}
	// O_NONBLOCK, since a FIFO may have replaced the file after Stat.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > mostBytes {
		return nil, fmt.Errorf("is too long: at most %d bytes are read", mostBytes)
	}
	return data, nil
}

func unreadable(path string, err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err // the Problem has the path
	}
	switch hidden := systemd.HiddenBy(path); {
	case hidden != "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)):
		return fmt.Errorf("is hidden from greetd by its unit's sandbox (%s), or does not exist: move it to /etc/greetd; greetd check --here reads it without the sandbox", hidden)
	case errors.Is(err, fs.ErrNotExist) && isLink(path):
		return errors.New("is a link to a file that does not exist: create that file, or remove the link")
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("does not exist: create it, or name another with --config or $GREETD_CONFIG")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("can't be read: %w: make it readable for the user that greetd runs as", err)
	}
	return fmt.Errorf("can't be read: %w", err)
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no file"
}

// A fileReader reads one file, and collects problems.
type fileReader struct {
	path     string
	dropIn   bool
	problems *problems
	values   int // number of values up to now
}

func (r *fileReader) at(line int) origin { return origin{r.path, line} }

// read returns the content of the file. It is empty if the file can't be read.
func (r *fileReader) read() *value {
	data, err := readFile(r.path)
	if err != nil {
		r.problems.add(r.at(0), "", "%s", err)
		return &value{}
	}
	if line, reason := notText(data); reason != "" {
		r.problems.add(r.at(line), "", "%s", reason)
		return &value{}
	}
	// Each value needs some hundred bytes to parse. A file with millions of values can only be a
	// mistake, and must not use up the memory of the daemon.
	if n := values(data); n > mostValues {
		r.problems.add(r.at(0), "", "has %d lines and commas, which is too long for a configuration: at most %d are read", n, mostValues)
		return &value{}
	}
	root := r.parse(data)
	if root == nil {
		return &value{}
	}
	return r.section(root, schema, "")
}

// notText returns the first line of data that can't be YAML because of its characters (YAML 1.2, section
// 5.1), and the reason; "" if there is none.
func notText(data []byte) (line int, reason string) {
	line = 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == '\n':
			line++
		case c == utf8.RuneError && size == 1:
			return line, fmt.Sprintf("is not UTF-8, because of byte 0x%02x: save it as UTF-8", data[i])
		case c == 0:
			return line, "has a NUL byte, which no text has: was it written to the end?"
		case unicode.IsControl(c) && !strings.ContainsRune("\t\n\r\u0085", c):
			return line, fmt.Sprintf("has the control character %U: write it as an escape in double quotes", c)
		}
		i += size
	}
	return 0, ""
}

// values estimates the number of values in data.
func values(data []byte) int {
	n := 0
	for _, end := range []string{"\n", ",", "[", "{"} {
		n += bytes.Count(data, []byte(end))
	}
	return n
}

// parse returns the root of the only document in data. It returns nil after a problem, and for a file
// without a value.
func (r *fileReader) parse(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		r.empty(data)
		return nil
	case err != nil:
		r.malformed(data, err)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.problems.add(r.at(second.Line), "", "begins a second document here: put all into the first, and remove the line ---")
		return nil
	case !errors.Is(err, io.EOF):
		r.malformed(data, err)
		return nil
	}
	root := document.Content[0]
	switch {
	case root.Tag == "!!null":
		r.empty(data)
		return nil
	case root.Kind != yaml.MappingNode:
		r.problems.add(r.at(root.Line), "", "must be made of keys and values, such as greeting: \"Hello!\", not %s", describe(root))
		return nil
	case r.tagged(root, ""):
		return nil
	}
	return root
}

// empty reports a problem for a file without a value, unless it has a comment. A comment shows that the
// operator wants the defaults. A file without a comment was probably not written completely.
func (r *fileReader) empty(data []byte) {
	if bytes.Contains(data, []byte("#")) {
		return
	}
	r.problems.add(r.at(0), "", "has no settings: write some, such as greeting: \"Hello!\", or a comment to run with the defaults")
}

// malformed reports err, an error of the YAML parser, with the right line and a remedy.
func (r *fileReader) malformed(data []byte, err error) {
	yamlError := regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)
	countedFrom0 := regexp.MustCompile(`^did not find expected (<|node content|key|'-'|',')`) // the errors of which yaml counts the lines from 0
	reason, line := err.Error(), 0
	if m := yamlError.FindStringSubmatch(reason); m != nil {
		reason = m[2]
		line, _ = strconv.Atoi(m[1])
	}
	if countedFrom0.MatchString(reason) {
		line++
	}
	if _, rest, ok := strings.Cut(reason, "unknown anchor '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		before, _, _ := bytes.Cut(data, []byte("*"+name))
		line = 1 + bytes.Count(before, []byte("\n"))
	}
	if at, key, value := unquotedTemplate(data, line); at > 0 {
		r.problems.add(r.at(at), key, "begins with {{, which is a section in YAML: put the text in quotes, as in %s: %s", key, strconv.Quote(value))
		return
	}
	last := 1 + bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	line = min(max(line, 1), last) // an error without a line is in the first; the parser can report one line after the last
	r.problems.add(r.at(line), "", "is not YAML: %s: correct the text at this line or before it", reason)
}

// unquotedTemplate looks for a value that begins with {{ and has no quotes, in the line or in the two
// lines before it. The parser can report the error of such a value up to two lines later. at is 0 if
// there is none.
func unquotedTemplate(data []byte, line int) (at int, key, value string) {
	template := regexp.MustCompile(`^[ \t{-]*(\w+):\s+(\{\{.*\S)`)
	lines := strings.Split(string(data), "\n")
	for i := min(line, len(lines)) - 1; i >= max(0, line-3); i-- {
		if m := template.FindStringSubmatch(lines[i]); m != nil {
			return i + 1, m[1], m[2] + "\n"
		}
	}
	return 0, "", ""
}

// section returns the values in the mapping n, which is the section f with the key prefix.
func (r *fileReader) section(n *yaml.Node, f field, prefix string) *value {
	section := &value{fields: make(map[string]*value)}
	lines := make(map[string]int)
	for pair := range slices.Chunk(n.Content, 2) {
		if r.enough() {
			break
		}
		name := pair[0]
		key := join(prefix, plain(name.Value))
		child, known := f.child(name.Value)
		switch {
		case name.Kind != yaml.ScalarNode:
			r.problems.add(r.at(name.Line), prefix, "must have words as keys, not %s", describe(name))
			continue
		case name.Tag == "!!merge":
			r.problems.add(r.at(name.Line), prefix, "must not merge with <<: write out what it stands for")
			continue
		case !known:
			r.problems.add(r.at(name.Line), key, "%s", f.unknown(name.Value))
			continue
		case r.tagged(name, key):
			continue
		case lines[name.Value] != 0:
			r.problems.add(r.at(name.Line), key, "is set twice, before in line %d: remove one", lines[name.Value])
			continue
		}
		lines[name.Value] = name.Line
		v := r.value(r.follow(pair[1], key), child, key)
		v.at = r.at(name.Line)
		section.fields[child.name] = v
		if child.isName {
			section.name = v.text
		}
	}
	for _, child := range f.fields {
		if child.required && lines[child.name] == 0 && (!r.dropIn || child.isName) {
			r.problems.add(r.at(n.Line), join(prefix, child.name), "is missing: give %s", child.rule.want)
		}
	}
	return section
}

// enough reports whether to stop reading, because of too many problems or values. This is reported
// elsewhere.
func (r *fileReader) enough() bool { return r.problems.more || r.values > mostValues }

// follow returns n, or the node that n is an alias of. It counts the values.
func (r *fileReader) follow(n *yaml.Node, key string) *yaml.Node {
	r.values++
	if r.values == mostValues+1 {
		r.problems.add(r.at(n.Line), key, "has too many values, with those that aliases repeat: at most %d are read", mostValues)
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// wrong reports a problem of the value n, and returns the value to use instead.
func (r *fileReader) wrong(n *yaml.Node, key, format string, args ...any) *value {
	r.problems.add(r.at(n.Line), key, format, args...)
	return &value{wrong: true}
}

// value returns the value of n for the field f with this key.
func (r *fileReader) value(n *yaml.Node, f field, key string) *value {
	switch {
	case isNull(n):
		return r.wrong(n, key, "has no value: give it one, or remove the key to get the default")
	case f.many:
		return r.list(n, f, key)
	}
	return r.one(n, f, key)
}

// one returns the value of n if f is not a list, or if n is one element of the list.
func (r *fileReader) one(n *yaml.Node, f field, key string) *value {
	switch {
	case f.fields == nil:
		return r.scalar(n, f.rule, key)
	case n.Kind != yaml.MappingNode:
		return r.wrong(n, key, "must be a section with the keys %s, not %s", strings.Join(f.names(), ", "), describe(n))
	case r.tagged(n, key):
		return &value{wrong: true}
	}
	return r.section(n, f, key)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// tagged reports whether n, which is a section, a list or a key, has a tag of another type, and adds a
// problem if it has.
func (r *fileReader) tagged(n *yaml.Node, key string) bool {
	want := map[yaml.Kind]string{yaml.MappingNode: "!!map", yaml.SequenceNode: "!!seq", yaml.ScalarNode: yamlString}[n.Kind]
	if n.Tag == want {
		return false
	}
	r.problems.add(r.at(n.Line), key, "has the tag %s, which means nothing here: remove it", plain(n.Tag))
	return true
}

func (r *fileReader) list(n *yaml.Node, f field, key string) *value {
	switch {
	case n.Kind != yaml.SequenceNode:
		hint := ""
		if n.Kind == yaml.ScalarNode && f.fields == nil {
			hint = fmt.Sprintf(": write [%s]", words.Quote(n.Value))
		}
		return r.wrong(n, key, "must be a list, not %s%s", describe(n), hint)
	case r.tagged(n, key):
		return &value{wrong: true}
	case f.fields != nil && (len(n.Content) == 0 || len(n.Content) > mostSections):
		return r.wrong(n, key, "must have from 1 to %d elements, not %d", mostSections, len(n.Content))
	}
	list := &value{list: []*value{}}
	for i, element := range n.Content {
		if r.enough() {
			break
		}
		key := fmt.Sprintf("%s[%d]", key, i)
		element = r.follow(element, key)
		var v *value
		if isNull(element) {
			v = r.wrong(element, key, "has no value: give it one, or remove it from the list")
		} else {
			v = r.one(element, f, key)
		}
		if v.wrong && f.fields != nil {
			v = &value{fields: make(map[string]*value)} // so that later elements keep their index
		}
		v.at = r.at(element.Line)
		list.list = append(list.list, v)
	}
	return list
}

func (r *fileReader) scalar(n *yaml.Node, want rule, key string) *value {
	if n.Kind != yaml.ScalarNode || !slices.Contains(want.tags, n.Tag) {
		return r.wrong(n, key, "must be %s, not %s%s", want.want, describe(n), quoting(n, want))
	}
	if reason := want.broken(n.Value, describe(n)); reason != "" {
		return r.wrong(n, key, "%s", reason)
	}
	return &value{text: n.Value}
}

// quoting returns a remedy if n would be valid with quotes, without quotes or without its tag; else "".
func quoting(n *yaml.Node, want rule) string {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && want.tags[0] == yamlString {
		return ": a text that begins with { must be in quotes"
	}
	if err := want.check(n.Value); n.Kind != yaml.ScalarNode || err != nil {
		return ""
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return ": remove the tag"
	}
	if want.tags[0] == yamlString {
		return ": put it in quotes"
	}
	if n.Tag == yamlString {
		return ": remove the quotes"
	}
	return ""
}

// describe returns the kind and the text of n, for "must be a list, not ...".
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Style&yaml.TaggedStyle != 0:
		return words.Quote(n.Tag + " " + n.Value)
	case n.Tag == yamlString:
		return "the text " + words.Quote(n.Value)
	case n.Tag == yamlInt || n.Tag == yamlFloat:
		return "the number " + plain(n.Value)
	case n.Tag == yamlBool:
		return n.Value
	}
	return words.Quote(n.Tag + " " + n.Value)
}

// isLink reports whether path is a symbolic link, also if its target does not exist.
func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}
