package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"greetd.example/internal/words"
)

// The types of YAML that the rules accept (YAML 1.2, section 10.3).
const (
	yamlString = "!!str"
	yamlInt    = "!!int"
	yamlFloat  = "!!float"
	yamlBool   = "!!bool"
)

// A rule says which values a key may have.
type rule struct {
	want  string             // a valid value in words: "a number from 1 to 32"
	tags  []string           // the YAML types that are accepted
	check func(string) error // returns errWanted if want says everything about the mistake
	json  jsonSchema         // the rule as a JSON Schema, as far as possible
}

func text(want, pattern string, check func(string) error) rule {
	return rule{want, []string{yamlString}, check, matching(pattern)}
}

var boolean = rule{"true or false", []string{yamlBool}, func(s string) error {
	return wanted(strings.EqualFold(s, "true") || strings.EqualFold(s, "false"))
}, jsonSchema{"type": "boolean"}}

// except makes the JSON Schema of r refuse values that match pattern, and returns r.
func (r rule) except(pattern string) rule {
	r.json["not"] = jsonSchema{"pattern": pattern}
	return r
}

// broken returns the reason why s, which is shown in this way, breaks the rule; "" if it does not.
func (r rule) broken(s, shown string) string {
	switch err := r.check(s); {
	case errors.Is(err, errWanted):
		return fmt.Sprintf("must be %s, not %s", r.want, shown)
	case err != nil:
		return fmt.Sprintf("%s %s", words.Quote(s), err)
	}
	return ""
}

// errWanted is the error of a rule for a value that is simply not what want says.
var errWanted = errors.New("not what is wanted")

func wanted(ok bool) error {
	if ok {
		return nil
	}
	return errWanted
}

func oneOf(words ...string) rule {
	last := len(words) - 1
	want := strings.Join(words[:last], ", ") + " or " + words[last]
	return rule{want, []string{yamlString}, func(s string) error { return wanted(slices.Contains(words, s)) }, jsonSchema{"enum": words}}
}

func integer(least, most int) rule {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	return rule{want, []string{yamlInt}, func(s string) error {
		n, err := strconv.Atoi(s)
		// YAML reads 010 as eight, most people as ten.
		digits := strings.TrimLeft(s, "+-")
		return wanted(err == nil && n >= least && n <= most && (len(digits) == 1 || digits[0] != '0'))
	}, jsonSchema{"type": "integer", "minimum": least, "maximum": most}}
}

func decimal(least, most float64) rule {
	want := fmt.Sprintf("a number from %g to %.0f", least, most)
	return rule{want, []string{yamlInt, yamlFloat}, func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		return wanted(err == nil && f >= least && f <= most && !strings.ContainsAny(s, "xX")) // NaN is neither above least nor below most
	}, jsonSchema{"type": "number", "minimum": least, "maximum": most}}
}

const longest = 24 * time.Hour

func above0(d time.Duration) error {
	if d == 0 {
		return errors.New("must be above 0s")
	}
	return nil
}

func from0(time.Duration) error { return nil }

func duration(check func(time.Duration) error) rule {
	r := rule{"a duration with its unit, such as 5s, 500ms or 1m30s", []string{yamlString, yamlInt, yamlFloat}, func(s string) error {
		number := strings.Trim(s, "+-.0123456789") == ""
		if _, err := strconv.ParseFloat(s, 64); err == nil && number && len(s) < 20 {
			return fmt.Errorf("has no unit: write %ss for seconds or %sms for milliseconds", s, s)
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return errWanted
		case d < 0, strings.HasPrefix(s, "-"): // also -0s
			return errors.New("must not be negative")
		case d > longest:
			return errors.New("must be at most 24h")
		}
		return check(d)
	}, matching(durationPattern)}
	if check(0) != nil {
		return r.except(tooLongPattern + "|" + noTimePattern)
	}
	return r.except(tooLongPattern)
}

var prefixes = rule{"a CIDR such as 192.0.2.0/24, or an address", []string{yamlString}, func(s string) error {
	_, err := parsePrefix(s)
	return err
}, matching(prefixPattern)}

// parsePrefix reads a prefix, or an address, for which it returns the prefix with this address alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("must not have a zone: write %s", a.WithZone(""))
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errWanted
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits set beyond its length: write %s for the network, or %s for this address alone", p.Masked(), p.Addr())
	}
	return p, nil
}

// unixPeers in a list of prefixes stands for the peers of a unix socket.
const unixPeers = "unix"

var peers = rule{"a CIDR such as 192.0.2.0/24, an address, or unix", []string{yamlString}, func(s string) error {
	_, err := parsePeers(s)
	return err
}, matching(prefixPattern + `|^unix$`)}

// parsePeers reads a prefix, as parsePrefix does, or unixPeers, for which it returns the zero Prefix.
func parsePeers(s string) (netip.Prefix, error) {
	if s == unixPeers {
		return netip.Prefix{}, nil
	}
	return parsePrefix(s)
}

var fileMode = rule{`an octal file mode from "0001" to "0777"`, []string{yamlString, yamlInt}, func(s string) error {
	_, err := parseMode(s)
	return err
}, jsonSchema{"type": []string{"string", "integer"}, "pattern": modePattern, "minLength": 3, "minimum": 1, "maximum": 777}}

// parseMode reads an octal mode, as chmod(1) does.
func parseMode(s string) (FileMode, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 9)
	switch {
	case err != nil || n == 0 || len(s) < 3:
		return 0, errWanted
	case n&0o222 == 0:
		return 0, errors.New("lets nobody connect: a client needs write permission (unix(7)): write 0666 for every local user, or 0660 for the group")
	}
	return FileMode(n), nil
}

var groupName = text("the name of a group", `^[A-Za-z0-9_.-]*$`, func(s string) error {
	return wanted(!strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) && r != '.' }))
})

var anyText = text("a text", "", func(string) error { return nil })

var filePath = text("the path of a file", "", noNUL)

func noNUL(path string) error {
	if strings.ContainsRune(path, 0) {
		return errors.New("must not have a NUL byte: no path has one")
	}
	return nil
}

const longestName = 64

// listenerName accepts names that can be the label of a metric, the value of a journal field and an
// FDNAME of systemd (sd_pid_notify_with_fds(3)), and that need no quotes.
var listenerName = text("a name such as greet", `^[A-Za-z0-9_.-]{1,64}$`, func(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty: give a name such as greet")
	case strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) && r != '.' }):
		return errors.New(`must be made of letters a to z, digits, "-", "_" and "."`)
	case len(s) > longestName:
		return fmt.Errorf("must have at most %d characters, not %d", longestName, len(s))
	}
	return nil
})

// isWord reports whether r is an ASCII letter or digit, "-" or "_".
func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}
