package main

import (
	"io"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/test/manpage"
	"greetd.example/pkg/probe"
)

// The manuals explain every key of the JSON.
func TestManualsKnowEveryKey(t *testing.T) {
	for file, schema := range map[string]any{
		"ping.md": pingSummary{},
		"load.md": loadReport{},
	} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(reflect.TypeOf(schema)) {
			if !strings.Contains(string(text), "`"+key+"`") {
				t.Errorf("docs/%s does not explain %s", file, key)
			}
		}
	}
}

// keys returns the JSON keys of a struct and of the structs in it.
func keys(of reflect.Type) (names []string) {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	for field := range of.Fields() {
		names = append(names, field.Tag.Get("json"))
		names = append(names, keys(field.Type)...)
	}
	return names
}

// TestManualKnowsEachFlag holds the sections of greetprobe(1) against the flags: those
// of every command, those of the default one, and those of each sub-command.
func TestManualKnowsEachFlag(t *testing.T) {
	root := newRoot(t.Context(), streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	page := manpage.Read(t, "greetprobe.1")
	options := page.Section(t, "OPTIONS")
	common := flagsOfPage(options)
	if also := slices.Index(options, "Without a command there are also:"); also > 0 {
		common = flagsOfPage(options[:also])
	}
	manpage.Same(t, "flags of greetprobe", flagsOfPage(options), flagsOf(root))
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help", "version":
			continue
		case "completion":
			for _, shell := range cmd.Commands() {
				manpage.Same(t, "flags of "+shell.CommandPath(), append(flagsOfPage(page.Section(t, "completion")), "-h", "--help"), flagsOf(shell))
			}
			continue
		case "serve":
			manpage.Same(t, "flags of "+cmd.CommandPath(), append(flagsOfPage(page.Section(t, "serve")), "-h", "--help"), flagsOf(cmd))
			continue
		}
		manpage.Same(t, "flags of "+cmd.CommandPath(), append(flagsOfPage(page.Section(t, cmd.Name())), common...), flagsOf(cmd))
	}
}

// TestManualKnowsEachDefault looks for the default of each flag where the page explains it.
func TestManualKnowsEachDefault(t *testing.T) {
	root := newRoot(t.Context(), streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	page := manpage.Read(t, "greetprobe.1")
	found := 0
	for _, cmd := range append(root.Commands(), root) {
		section := page.Section(t, "OPTIONS")
		switch cmd.Name() {
		case "check", "ping", "load", "serve":
			section = append(slices.Clone(page.Section(t, cmd.Name())), section...)
		case "greetprobe":
		default:
			continue
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if slices.Contains([]string{"", "0", "0s", "[]", "false"}, f.DefValue) {
				return
			}
			found++
			if text := explanation(section, f.Name); !strings.Contains(text, f.DefValue) {
				t.Errorf("%s --%s: the manual page says %q, and not the default %s", cmd.CommandPath(), f.Name, text, f.DefValue)
			}
		})
	}
	if found < 20 {
		t.Errorf("only %d defaults were found", found)
	}
}

// explanation is the text below the item of a flag.
func explanation(section manpage.Page, flag string) string {
	item := regexp.MustCompile(`^\.It Fl (.* )?-` + flag + `( |$)`)
	begin := slices.IndexFunc(section, item.MatchString)
	if begin < 0 {
		return ""
	}
	text := section[begin+1:]
	if end := slices.IndexFunc(text, func(line string) bool { return strings.HasPrefix(line, ".It ") || line == ".El" }); end >= 0 {
		text = text[:end]
	}
	return strings.Join(text, " ")
}

func flagsOf(cmd *cobra.Command) (flags []string) {
	cmd.InitDefaultHelpFlag()
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		flags = append(flags, "--"+f.Name)
		if f.Shorthand != "" {
			flags = append(flags, "-"+f.Shorthand)
		}
	})
	return flags
}

func flagsOfPage(section manpage.Page) (flags []string) {
	for _, line := range section {
		item, ok := strings.CutPrefix(line, ".It Fl ")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(item, " , Fl ") {
			flags = append(flags, "-"+strings.Fields(part)[0])
		}
	}
	return flags
}

// TestManualKnowsEachExitCode holds the table of greetprobe(1) against the codes that a
// status can have.
func TestManualKnowsEachExitCode(t *testing.T) {
	codes := []string{strconv.Itoa(exitUsage)}
	for _, status := range probe.Statuses() {
		codes = append(codes, strconv.Itoa(exitFor(status)))
	}
	var page []string
	for _, line := range manpage.Read(t, "greetprobe.1").Section(t, "EXIT STATUS") {
		if row := strings.Split(line, " Ta "); len(row) == 3 && row[1] != "Em default" {
			page = append(page, row[1])
		}
	}
	manpage.Same(t, "exit codes", page, codes)
}

func TestManualKnowsEachStatus(t *testing.T) {
	var statuses []string
	for _, status := range probe.Statuses() {
		statuses = append(statuses, string(status))
	}
	manpage.Same(t, "statuses", manpage.Read(t, "greetprobe.1").Section(t, "Statuses").Words("Li"), statuses)
}

// full is a result in which nothing is missing.
func full() probe.Result {
	took := time.Second
	return probe.Result{
		Target:   probe.Target{Host: "mail.example", Port: 25},
		Attempts: []probe.Attempt{{Addr: netip.MustParseAddrPort("192.0.2.1:25")}},
		Timing:   probe.Timing{Resolve: &took, Connect: &took, Proxy: &took, TLS: &took, FirstByte: &took, Greeting: &took, Total: took},
		TCP:      &probe.TCP{}, Greeting: &probe.Greeting{}, Expect: &probe.Expect{}, Refusal: &probe.Refusal{}, TLS: &probe.TLS{NotAfter: time.Now(), ChainNotAfter: time.Now()},
		Steps: []probe.StepResult{{Step: "starttls"}},
	}
}

func TestManualKnowsEachKey(t *testing.T) {
	text := object(full())
	page := manpage.Read(t, "greetprobe.1")
	var names []string
	for _, key := range regexp.MustCompile(`"(\w+)":`).FindAllSubmatch(text, -1) {
		names = append(names, string(key[1]))
	}
	manpage.Same(t, "keys of greetprobe/1", page.Section(t, "JSON").Words("Li"), names)
	manpage.Same(t, "keys of greetprobe-ping/1", page.Section(t, "ping").Words("Li"), keys(reflect.TypeFor[pingSummary]()))
	manpage.Same(t, "keys of greetprobe-load/1", page.Section(t, "load").Words("Li"), keys(reflect.TypeFor[loadReport]()))
}

func TestManualKnowsEachMetric(t *testing.T) {
	var m metrics
	m.add(full())
	var names, page []string
	for _, name := range regexp.MustCompile(`# TYPE (\w+)`).FindAllSubmatch(m.text(), -1) {
		names = append(names, string(name[1]))
	}
	for _, word := range manpage.Read(t, "greetprobe.1").Section(t, "Metrics").Words("Li") {
		name, _, _ := strings.Cut(word, "{")
		page = append(page, name)
	}
	manpage.Same(t, "metrics", page, names)
}
