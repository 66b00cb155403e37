package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
)

const picturesEnv = "GREETD_PICTURES" // set: make the pictures of the README in this directory

// TestPictures takes the pictures of the README, in eleven minutes: the status page shows
// the last ten.
func TestPictures(t *testing.T) {
	directory := os.Getenv(picturesEnv)
	if directory == "" {
		t.Skip("make pictures")
	}
	m := boot(t, releases[len(releases)-1])
	m.run("sh", "-c", "echo gate >/proc/sys/kernel/hostname")
	m.town()
	m.configure(strings.Replace(visitSettings, "limits: {per_source: {rate: 1, burst: 10}}\n", "", 1))
	m.run("systemctl", "enable", "--now", "greetd")
	night := m.eventfulDay()
	time.Sleep(10*time.Minute + 5*time.Second)
	save := func(name, url, width, ready string) {
		shoot := exec.CommandContext(t.Context(), "go", "run", "./shoot", "-chromium="+debian.Program(t, "chromium", "chromium"),
			"-width="+width, "-ready="+ready, url)
		shoot.Dir, shoot.Stderr = "../browser", os.Stderr
		picture, err := shoot.Output()
		if err != nil {
			t.Fatalf("%s: %v", shoot, err)
		}
		small := exec.Command(debian.Program(t, "pngquant", "pngquant"), "--speed=1", "--strip", "--nofs", "16", "-")
		small.Stdin = bytes.NewReader(picture)
		if picture, err = small.Output(); err != nil {
			t.Fatalf("pngquant: %v", err)
		}
		if err := os.WriteFile(filepath.Join(directory, name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	terminal := func(name, command, output string) {
		page := "data:text/html;base64," + base64.StdEncoding.EncodeToString([]byte(inTerminal(command, output)))
		save(name, page, "1024", "document.fonts.status === 'loaded'")
	}
	save("status-page", "http://"+m.forward("127.0.0.1:9180")+"/", "1100",
		`document.querySelectorAll("svg path.first[d^=M]").length >= 2`)
	terminal("systemctl-status", "systemctl status greetd", m.seen("systemctl status greetd"))

	night()

	// A restart in the middle; what was drawn last counts.
	restart := time.AfterFunc(12*time.Second, func() { _, _ = m.try("systemctl", "restart", "greetd") })
	defer restart.Stop()
	command := "greetprobe ping --count 100 --interval 200ms --plot localhost:10000"
	output := m.seen(command)
	terminal("plot", command, output[strings.LastIndex(output, "\x1b[J")+len("\x1b[J"):])
}

// seen runs a command on a terminal of the machine, and returns what it shows there.
func (m *machine) seen(command string) string {
	m.Helper()
	inside := m.command("script", "--quiet", "--return", "--command", "stty cols 124 rows 50; "+command, "/dev/null")
	inside.Env = append(inside.Env, "TERM=xterm-256color", "SYSTEMD_COLORS=256", "SYSTEMD_URLIFY=0", "LANG=C.UTF-8")
	out, err := inside.Output()
	if err != nil {
		m.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

// forward lets this machine's programs reach an address of m, and returns where.
func (m *machine) forward(address string) string {
	m.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the listener, as its connections do with their browser
		for {
			here, err := ln.Accept()
			if err != nil {
				return
			}
			there, err := m.dial("tcp", address)
			if err != nil {
				_ = here.Close()
				continue
			}
			join := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}
			go join(there, here)
			go join(here, there)
		}
	}()
	return ln.Addr().String()
}

// eventfulDay lets clients come: more and fewer by turns, and few of them such as do not
// behave. It returns what ends it.
func (m *machine) eventfulDay() (night func()) {
	stop := make(chan struct{})
	var day, visits sync.WaitGroup
	rng := rand.New(rand.NewPCG(1, 2))
	visit := func(from, address, say string, pause time.Duration) {
		var c net.Conn
		err := m.inside(func() (err error) {
			dialer := net.Dialer{Timeout: waitLimit, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			c, err = dialer.Dial("tcp", address)
			return err
		})
		if err != nil {
			return // the pictures will show it
		}
		visits.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(waitLimit))
			time.Sleep(pause)
			_, _ = io.WriteString(c, say)
			_, _ = io.Copy(io.Discard, c)
		})
	}
	balanced := func(pause time.Duration) {
		visit(proxy, server+":10001", fmt.Sprintf("PROXY TCP4 198.18.%d.%d %s 41000 10001\r\n", rng.IntN(256), rng.IntN(256), server), pause)
	}
	day.Go(func() {
		for begin := time.Now(); ; {
			minutes := time.Since(begin).Minutes()
			rate := 22 + 12*math.Sin(minutes*1.3) + 6*math.Sin(minutes*7)
			if minutes > 6.5 && minutes < 7 {
				rate *= 3
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rng.ExpFloat64() / rate * float64(time.Second))):
			}
			switch n := rng.IntN(10000); {
			case n < 3:
				visit(broken, server+":10000", "", 0)
			case n < 20:
				visit(proxy, server+":10001", "", time.Second) // says nothing in time
			case n < 60:
				visit(proxy, server+":10001", "GET / HTTP/1.0\r\n\r\n", 0)
			case n < 250:
				visit(denied, server+":10000", "", 0)
			case n < 1000:
				balanced(time.Duration(rng.ExpFloat64() * float64(15*time.Millisecond)))
			case n < 3000:
				balanced(0)
			default:
				visit(fmt.Sprintf("127.%d.%d.%d", rng.IntN(256), rng.IntN(256), 1+rng.IntN(254)), "127.0.0.1:10000", "", 0)
			}
		}
	})
	return func() {
		close(stop)
		day.Wait()
		visits.Wait()
	}
}

// Colours of a terminal, by the number that selects them.
var colours = map[string]string{
	"1": "font-weight:bold", "4": "text-decoration:underline", "2": "opacity:.6",
	"31": "color:#ff7b72", "32": "color:#3fb950", "33": "color:#d29922", "34": "color:#79c0ff",
	"90": "color:#8b949e", "38:5:245": "color:#8b949e", "38:5:185": "color:#d2a922",
}

var rendition = regexp.MustCompile("\x1b\\[([0-9;:]*)m")

// inTerminal returns a page that looks like a terminal in which a command was typed.
func inTerminal(command, output string) string {
	var b strings.Builder
	b.WriteString(`<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 14px 18px; background: #0d1117 }
pre { margin: 0; font: 13px/1.35 "DejaVu Sans Mono", monospace; color: #e6edf3; white-space: pre-wrap }
.prompt { color: #3fb950 }
</style><pre><span class="prompt">root@gate:~#</span> ` + html.EscapeString(command) + "\n")
	text := strings.TrimRight(output, "\n")
	open, from := 0, 0
	for _, at := range rendition.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(html.EscapeString(text[from:at[0]]))
		from = at[1]
		b.WriteString(strings.Repeat("</span>", open))
		open = 0
		for code := range strings.SplitSeq(text[at[2]:at[3]], ";") {
			if style := colours[code]; style != "" {
				b.WriteString(`<span style="` + style + `">`)
				open++
			}
		}
	}
	b.WriteString(html.EscapeString(text[from:]) + "</pre>")
	return b.String()
}
