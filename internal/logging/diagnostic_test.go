package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"greetd.example/internal/test/journald"
)

// TestFormsAreFormatters gives each form to a logger of logrus.
func TestFormsAreFormatters(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 5, 6, 123456789, time.UTC)
	for want, f := range map[string]form{
		"2026-11-23T14:05:06.123456Z warning odd\n": textForm{},
		"<4>odd\n": textForm{journal: true},
		`{"time":"2026-11-23T14:05:06.123456Z","level":"warning","msg":"odd","message_id":"` + ConfigWarning.ID() +
			`","priority":4,"count":3,"who":"me\nyou"}` + "\n": jsonForm{},
		"MESSAGE=odd\nPRIORITY=4\nSYSLOG_IDENTIFIER=greetd\nMESSAGE_ID=" + ConfigWarning.ID() +
			"\nGREETD_COUNT=3\nGREETD_WHO\n\x06\x00\x00\x00\x00\x00\x00\x00me\nyou\n": nativeForm{},
		fmt.Sprintf("<28>Nov 23 14:05:06 greetd[%d]: odd\n", os.Getpid()): syslogForm{},
	} {
		var out bytes.Buffer
		logger := logrus.New()
		logger.SetOutput(&out)
		logger.SetFormatter(&encoder{form: f, limit: 1000})
		logger.WithTime(at).WithFields(logrus.Fields{eventKey: ConfigWarning, "who": "me\nyou", "count": 3}).Warn("odd")
		if got := out.String(); got != want {
			t.Errorf("%T: %q, want %q", f, got, want)
		}
	}
}

// TestApplyLosesNoDiagnostic changes output and format again and again while events
// happen: each is in one output, once, and in the form of that output.
func TestApplyLosesNoDiagnostic(t *testing.T) {
	j := journald.Start(t).Run()
	path := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	env := testEnvironment(t, j.Path)
	env.syslogSocket, env.stderr.journal = path, false
	o := defaults
	l, err := open(o, env)
	if err != nil {
		t.Fatal(err)
	}
	datagrams := make(chan string, 1)
	go func() {
		var text strings.Builder
		buf := make([]byte, 1<<16)
		for n, err := daemon.Read(buf); err == nil; n, err = daemon.Read(buf) {
			text.Write(buf[:n])
		}
		datagrams <- text.String()
	}()

	const writers, each = 3, 500
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() {
			for n := range each {
				l.Event(Ready, fmt.Sprintf("event-%d", i*each+n), F("number", n))
				time.Sleep(10 * time.Microsecond)
			}
		})
	}
	for i := range 200 {
		o.Output = []string{toJournald, toSyslog, toStderr}[i%3]
		o.Format = []string{"text", jsonFormat}[i/3%2]
		if err := l.Apply(o); err != nil {
			t.Error(err)
		}
	}
	running.Wait()
	if err := l.Close(); err != nil || l.Dropped() > 0 {
		t.Fatalf("%v, %d dropped", err, l.Dropped())
	}
	daemon.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var all strings.Builder
	all.WriteString(<-datagrams)
	all.WriteString(read(t, env.stderr.File))
	for line := range strings.Lines(all.String()) {
		_, object, found := strings.Cut(line, "{")
		if found != strings.HasSuffix(line, "}\n") || found && !json.Valid([]byte("{"+object)) {
			t.Errorf("%q is neither text nor JSON", line)
		}
	}
	j.Drain()
	for _, e := range j.All() {
		all.WriteString(e["MESSAGE"] + "\n")
	}
	seen := map[string]int{}
	for _, event := range regexp.MustCompile(`event-\d+`).FindAllString(all.String(), -1) {
		seen[event]++
		if seen[event] > 1 {
			t.Errorf("%s is logged %d times", event, seen[event])
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d events are in the outputs, want %d", len(seen), writers*each)
	}
}
