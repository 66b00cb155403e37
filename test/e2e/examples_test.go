package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/manpage"
	"greetd.example/internal/test/testserver"
)

// What the help, the manual pages and the Markdown pages show is run here, as it stands.

// endless are the examples that go on until somebody stops them, or for longer than a
// test should: they are interrupted after a while.
var endless = regexp.MustCompile(`^(greetd( --listen .*)?$|greetd serve|GREETD_\w+=\w+ greetd serve|greetprobe ping|greetprobe load|greetprobe serve$|journalctl .*-f$)`)

// elsewhere are the examples that need what a machine without a compiler has not got.
// Other tests run them.
var elsewhere = regexp.MustCompile(`^make |completion (zsh|fish|powershell)`)

// slow are the examples whose exit code tells how fast this machine is.
var slow = regexp.MustCompile(` -w 0\.5`)

// TestExamples runs every example of every --help, the literal displays of the manual
// pages, and the shell commands of Markdown pages, whose configurations are checked.
func TestExamples(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.furnish()
		for where, show := range m.sources() {
			m.run("rm", "-rf", "/etc/systemd/system/greetd.service.d")
			m.run("systemctl", "daemon-reload")
			m.run("systemctl", "start", "greetd.service")
			if ran := show(); ran < 4 {
				m.Errorf("only %d commands were found in %s", ran, where)
			}
			m.run("systemctl", "disable", "--now", "greetd.socket", "greetd.service")
		}
	})
}

// sources are the names of what has examples, and functions that run them and return how
// many there were.
func (m *machine) sources() map[string]func() int {
	all := map[string]func() int{}
	programs, manuals := []string{"greetd"}, []string{"greetd.8"}
	if m.release.name == releases[0].name { // the probe is the same with any systemd
		programs, manuals = append(programs, "greetprobe"), append(manuals, "greetprobe.1")
	}
	for _, program := range programs {
		all[program+" --help"] = func() int { return m.showsAll(program+" --help", m.helpOf(program)) }
	}
	for _, name := range manuals {
		all[name] = func() int {
			ran, page := 0, manpage.Read(m, name)
			for begin := slices.IndexFunc(page, isDisplay); begin >= 0; begin = slices.IndexFunc(page, isDisplay) {
				m.run("systemctl", "start", "greetd.service") // the display before may have stopped it
				page = page[begin+1:]
				end := slices.Index(page, ".Ed")
				ran += m.showsAll(name, page[:end])
				page = page[end:]
			}
			return ran
		}
	}
	for _, page := range []string{"README.md", "docs/from-sockets-to-systemd.md", "docs/for-daemon-authors.md"} {
		all[page] = func() (ran int) {
			for _, block := range manpage.Blocks(m, "../../"+page) {
				where := fmt.Sprintf("%s:%d", page, block.Line)
				switch block.Kind {
				case "sh":
					ran += m.showsAll(where, block.Lines)
				case "yaml":
					m.write("/root/shown.yaml", strings.Join(block.Lines, "\n")+"\n")
					m.shows(where, "greetd check --here --config shown.yaml")
				}
			}
			return ran
		}
	}
	return all
}

func isDisplay(line string) bool { return strings.HasPrefix(line, ".Bd -literal") }

// explained is what follows an example in its line.
var explained = regexp.MustCompile(`\s{2,}\S.*$`)

// helpOf returns the examples of a command and of those below it.
func (m *machine) helpOf(command string) (examples []string) {
	m.Helper()
	text, _ := m.try("sh", "-c", command+" --help") // of a monitoring plugin it is UNKNOWN
	help := strings.Split(text, "\n")
	for _, line := range help[2:] {
		example, ok := strings.CutPrefix(line, "  ")
		if !ok {
			break
		}
		examples = append(examples, explained.ReplaceAllString(example, ""))
	}
	if begin := slices.Index(help, "Commands, each with --help:"); begin > 0 {
		for _, line := range help[begin+1:] {
			words := strings.Fields(line)
			if len(words) == 0 {
				break
			}
			examples = append(examples, m.helpOf(command+" "+words[0])...)
		}
	} else if command == "greetprobe" {
		for _, below := range []string{"check", "ping", "load", "completion"} {
			examples = append(examples, m.helpOf(command+" "+below)...)
		}
	}
	return examples
}

// showsAll runs commands, and returns how many. Those that end in a backslash go on in
// the next line; where some begin with $, the rest is what they print.
func (m *machine) showsAll(where string, lines []string) (ran int) {
	m.Helper()
	prompts := slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "$ ") })
	for line := range strings.SplitSeq(strings.ReplaceAll(strings.Join(lines, "\n"), "\\\n", " "), "\n") {
		command, prompted := strings.CutPrefix(line, "$ ")
		command, _, _ = strings.Cut(command, "  #")
		command = strings.TrimSpace(command)
		if command == "" || prompted != prompts {
			continue
		}
		m.shows(where, command)
		ran++
	}
	return ran
}

// shows runs one command, as it stands but for what only needs another prefix, and wants
// it to succeed.
func (m *machine) shows(where, example string) {
	m.Helper()
	if elsewhere.MatchString(example) {
		return
	}
	limit, allowed := "60", []int{0}
	if endless.MatchString(example) {
		limit, allowed = "--signal=INT 1", []int{0, 124, 130}
		if strings.Contains(example, "greetd ") || strings.HasSuffix(example, "greetd") {
			m.run("systemctl", "stop", "greetd.service")
			defer m.run("systemctl", "start", "greetd.service")
		}
	}
	if slow.MatchString(example) {
		allowed = append(allowed, 1, 2)
	}
	installed := strings.ReplaceAll(example, "/usr/local/share/", "/usr/share/")
	m.write("/root/example", "cd /root\n"+installed+"\n")
	out, code := m.try("sh", "-c", "exec timeout "+limit+" bash /root/example")
	if !slices.Contains(allowed, code) {
		m.Errorf("%s shows\n%s\nwhich ends with %d:\n%s", where, example, code, out)
	}
}

// furnish gives a machine what the examples speak of: mail servers and the names of
// hosts, a certificate that is trusted, and files.
func (m *machine) furnish() {
	m.Helper()
	m.write("/etc/hosts", "127.0.0.1 localhost mail.example mail mx1 mx2 greet.example\n::1 localhost\n")
	m.run("ip", "address", "add", "2001:db8::1/128", "dev", "lo", "nodad")
	m.run("ln", "-s", "greetprobe", "/usr/bin/check_greet")
	m.run("ln", "-s", "/bin/true", "/usr/local/bin/editor")
	m.write("/root/a.yaml", "greeting: \"Hello there, {{.IP}}!\\n\"\n")
	m.write("/root/greetd.yaml", "greeting: \"Hello there, {{.IP}}!\\n\"\n")
	m.write("/etc/greetd/lobby.yaml", "listeners: [{name: lobby, address: \":10025\"}]\n")
	m.write("/root/targets", "mx1:25\nlocalhost 10000  # ours\n")

	authority := testserver.NewAuthority(m)
	trusted, err := os.ReadFile(authority.WriteFile(m, m.TempDir()))
	if err != nil {
		m.Fatal(err)
	}
	m.write("/etc/ssl/certs/ca-certificates.crt", string(trusted))
	certificate := authority.Sign(m, &x509.Certificate{
		DNSNames:  []string{"mx1", "mx2", "mail", "mail.example"},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().AddDate(0, 0, 90),
	})
	err = m.inside(func() error {
		for _, port := range []string{":25", ":587"} {
			testserver.ListenOn(m, "tcp", port, mail(certificate))
		}
		return nil
	})
	if err != nil {
		m.Fatal(err)
	}
	testserver.ListenOn(m, "unix", m.path("/run/greet.sock"), testserver.Greet("220 here\r\n"))
}

// mail is as much of an SMTP server as a probe wants to see.
func mail(certificate tls.Certificate) testserver.Behavior {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, "220 mx1.example ESMTP\r\n")
		capabilities := "250-mx1.example\r\n250 STARTTLS\r\n"
		for in := bufio.NewScanner(c); in.Scan(); {
			switch word, _, _ := strings.Cut(in.Text(), " "); word {
			case "EHLO":
				_, _ = io.WriteString(c, capabilities)
			case "STARTTLS":
				_, _ = io.WriteString(c, "220 go ahead\r\n")
				c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
				in, capabilities = bufio.NewScanner(c), "250-mx1.example\r\n250 AUTH PLAIN\r\n"
			}
		}
	}
}
