package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// run starts a program of systemd's, and returns what it prints.
func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "SYSTEMD_LOG_LEVEL=err")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s does not answer", name)
	case errors.As(err, &exit) && len(exit.Stderr) > 0:
		return "", errors.New(firstLine(string(exit.Stderr)))
	}
	return "", err
}

// parseShow reads what systemctl show prints for one unit.
func parseShow(text string) map[string]string {
	properties := make(map[string]string)
	last := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, math.MaxInt32)
	for lines.Scan() {
		key, value, found := strings.Cut(lines.Text(), "=")
		if !found || !isProperty(key) { // the line before went on
			if last != "" {
				properties[last] += "\n" + lines.Text()
			}
			continue
		}
		if before, again := properties[key]; again {
			value = before + "\n" + value
		}
		properties[key], last = value, key
	}
	return properties
}

func isProperty(key string) bool {
	for _, r := range key {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return key != "" && key[0] >= 'A' && key[0] <= 'Z'
}

// spanUnits are those of systemd.time(7) that can be in a setting.
var spanUnits = map[string]time.Duration{
	"us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseSpan reads a time span as systemd writes it, such as "1min 30s". "infinity" and
// whatever is longer than about 290 years are that long; what it can't read is false.
func parseSpan(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if text == "infinity" {
		return math.MaxInt64, true
	}
	total, rest := 0.0, text
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end < 0 {
			end = len(rest)
		}
		number, err := strconv.ParseFloat(rest[:end], 64)
		if err != nil {
			return 0, false
		}
		rest = strings.TrimLeft(rest[end:], " ")
		end = strings.IndexAny(rest, " 0123456789")
		if end < 0 {
			end = len(rest)
		}
		unit, known := spanUnits[rest[:end]]
		if !known {
			return 0, false
		}
		total += number * float64(unit)
		rest = strings.TrimLeft(rest[end:], " ")
	}
	if total >= math.MaxInt64 {
		return math.MaxInt64, true
	}
	return time.Duration(total), text != ""
}

// parseRateLimit reads the limit out of the files that make up journald.conf, put one
// after the other.
func parseRateLimit(text string) RateLimit {
	limit := RateLimit{Known: true, Interval: 30 * time.Second, Burst: 10000} // journald.conf(5)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "RateLimitIntervalSec", "RateLimitInterval":
			if interval, known := parseSpan(value); known {
				limit.Interval = interval
			}
		case "RateLimitBurst":
			if burst, err := strconv.Atoi(value); err == nil {
				limit.Burst = burst
			}
		}
	}
	return limit
}
