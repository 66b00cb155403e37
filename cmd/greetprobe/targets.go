package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"greetd.example/pkg/probe"
)

// completePort completes PORT of HOST PORT. It can't complete HOST.
func completePort(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) != 1 || strings.Contains(args[0], ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"ftp", "ssh", "smtp", "pop3", "imap2", "submission", "mysql", "10000"}, cobra.ShellCompDirectiveNoFileComp
}

func (f *rootFlags) targets(args []string, in io.Reader) ([]entry, error) {
	targets, errArgs := f.argEntries(args)
	more, errFile := f.fromFile(in)
	targets = append(targets, more...)
	if err := errors.Join(errArgs, errFile); err != nil || len(targets) > 0 {
		return targets, err
	}
	if f.file != "" {
		return nil, fmt.Errorf("--file %s: no target in it", f.file)
	}
	return nil, errNoTarget
}

func (f *rootFlags) argEntries(args []string) (entries []entry, err error) {
	if f.mx || f.srv {
		var errs []error
		for _, arg := range args {
			e, err := f.domain(arg)
			entries, errs = append(entries, e), append(errs, err)
		}
		return entries, errors.Join(errs...)
	}
	targets, err := argTargets(args)
	for _, target := range targets {
		entries = append(entries, entry{target: target})
	}
	return entries, err
}

// domain returns the entry for DOMAIN or, with --mx, DOMAIN:PORT. Its servers are found later, by expand.
func (f *rootFlags) domain(word string) (entry, error) {
	if strings.HasPrefix(word, "[") || strings.Count(word, ":") > 1 {
		return entry{}, fmt.Errorf("%q is an address, and has no records: write a domain", word)
	}
	host, port, both := strings.Cut(word, ":")
	if both && f.srv {
		return entry{}, fmt.Errorf("%q: the SRV record has the port: write _SERVICE._tcp.DOMAIN", word)
	}
	target, err := probe.JoinTarget(host, cmp.Or(port, smtpPort))
	if err == nil && target.Addr.IsValid() {
		err = fmt.Errorf("%q is an address, and has no records: write a domain", word)
	}
	return entry{target: target, find: true}, err
}

// expand replaces each entry with a domain or service by the entries of its servers.
func (f *rootFlags) expand(ctx context.Context, p *probe.Probe, entries []entry) []entry {
	found := make([][]entry, len(entries))
	var finding errgroup.Group
	finding.SetLimit(f.parallel)
	for i, e := range entries {
		if !e.find {
			found[i] = []entry{e}
			continue
		}
		finding.Go(func() error {
			found[i] = f.servers(ctx, p, e.target)
			return nil
		})
	}
	_ = finding.Wait() // the functions return no errors
	return slices.Concat(found...)
}

// servers returns the entries of the servers of a domain or service. Problems are entries with an error.
func (f *rootFlags) servers(ctx context.Context, p *probe.Probe, domain probe.Target) (servers []entry) {
	var targets []probe.Target
	var err error
	if f.mx {
		targets, err = p.MX(ctx, domain.Host, domain.Port)
	} else {
		targets, err = p.SRV(ctx, domain.Host)
	}
	for _, target := range targets {
		servers = append(servers, entry{target: target})
	}
	if err == nil {
		return servers
	}
	for line := range strings.Lines(err.Error()) {
		bad := errors.New(strings.TrimSuffix(line, "\n"))
		servers = append(servers, entry{target: probe.Target{Host: domain.Host}, err: bad, find: true})
	}
	return servers
}

// argTargets returns the targets of the arguments: HOST PORT, or any number of targets.
func argTargets(args []string) ([]probe.Target, error) {
	if len(args) == 2 && isPort(args[0], args[1]) {
		target, err := probe.JoinTarget(args[0], args[1])
		return []probe.Target{target}, err
	}
	var targets []probe.Target
	var errs []error
	for _, arg := range args {
		target, err := probe.ParseTarget(arg)
		targets, errs = append(targets, target), append(errs, err)
	}
	return targets, errors.Join(errs...)
}

// isPort reports whether two arguments are HOST PORT, and not two targets.
func isPort(host, port string) bool {
	return !strings.Contains(port, ":") && !strings.HasPrefix(host, "unix:")
}

func (f *rootFlags) fromFile(in io.Reader) ([]entry, error) {
	switch f.file {
	case "":
		return nil, nil
	case "-":
		return f.readTargets(in, "standard input")
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	defer file.Close()
	return f.readTargets(file, f.file)
}

// An entry is a target, or the error because of which there is none.
type entry struct {
	target probe.Target
	err    error
	find   bool // target is a domain or service, whose servers must still be found
}

func (e entry) result() probe.Result {
	r := probe.Result{
		Time: time.Now(), Target: e.target, Status: probe.InvalidTarget, Phase: probe.PhaseResolve, Err: e.err,
	}
	if e.find {
		r.Status = probe.ResolveFailed
	}
	return r
}

const maxLine = 4096

// readTargets reads one target from each line, as HOST:PORT or HOST PORT. A # at the beginning of a line or after white
// space begins a comment. A line that is not valid becomes an entry with an error.
func (f *rootFlags) readTargets(from io.Reader, name string) ([]entry, error) {
	var entries []entry
	lines := bufio.NewReaderSize(from, maxLine)
	for n := 1; ; n++ {
		line, err := readWhole(lines)
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // a byte order mark
		}
		e, errLine := f.readLine(strings.TrimRight(line, "\r\n"))
		switch {
		case errLine != nil:
			shown := probe.Target{Host: clip(strings.TrimSpace(line))}
			entries = append(entries, entry{target: shown, err: fmt.Errorf("%s:%d: %s", name, n, clip(errLine.Error()))})
		case e != entry{}:
			entries = append(entries, e)
		}
		switch {
		case errors.Is(err, io.EOF):
			return entries, nil
		case err != nil:
			return nil, fmt.Errorf("read targets: %s: %w", name, bare(err))
		}
	}
}

// readWhole reads a line. If the line is too long, it returns more than maxLine bytes, but not the whole line.
func readWhole(lines *bufio.Reader) (string, error) {
	part, err := lines.ReadSlice('\n')
	line := string(part)
	for errors.Is(err, bufio.ErrBufferFull) {
		line = line[:min(len(line), maxLine)] + "+"
		_, err = lines.ReadSlice('\n')
	}
	return line, err
}

// readLine returns the entry in line. It returns the zero value if there is none.
func (f *rootFlags) readLine(line string) (e entry, err error) {
	var words []string
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "#") {
			break
		}
		words = append(words, word)
	}
	switch {
	case strings.HasPrefix(line, "\xff\xfe"), strings.HasPrefix(line, "\xfe\xff"):
		err = errors.New("the text is UTF-16: save it as UTF-8")
	case len(line) > maxLine:
		err = fmt.Errorf("the line is longer than %d bytes", maxLine)
	case len(words) == 0:
	case len(words) == 1, len(words) == 2 && !f.mx && !f.srv && isPort(words[0], words[1]):
		entries, err := f.argEntries(words)
		return entries[0], err
	default:
		err = fmt.Errorf("%q: one target a line", clip(line))
	}
	return e, err
}

// maxShown is the maximum number of bytes of text from outside in a message.
const maxShown = 200

// clip shortens text to maxShown, for a message.
func clip(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "..."
}

// safe returns s as one line that is safe for a terminal.
func safe(s string) string {
	return strings.ReplaceAll(probe.Escape([]byte(s)), "\n", `\n`)
}
