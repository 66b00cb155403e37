package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/pkg/probe"
)

// probeFlags are the flags that say how to probe one target. Every command has them.
type probeFlags struct {
	settings   probe.Probe // those that flags set directly
	ipv4, ipv6 bool
	source     string
	network    bool // source is a network, from which the command chooses addresses
	expect     []string
	regex      []string
	reject     []string
	send, quit string
	step       []string
	stepsFile  string
	tlsStep    bool // one of the steps is starttls
	tls        bool
	sni, ca    string
	insecure   bool
	cert, key  string
	tlsMin     string
	tlsMax     string
	proxy      string
	verbose    int // number of times that -v was given
}

func (f *probeFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&f.ipv4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&f.ipv6, "ipv6", "6", false, "IPv6 only")
	flags.StringVarP(&f.source, "source", "S", "", "local `ADDR`ess to connect from")
	flags.DurationVar(&f.settings.Connect, "connect-timeout", probe.DefaultConnect, "time for connecting, for all addresses together")
	flags.DurationVar(&f.settings.Read, "read-timeout", probe.DefaultRead, "time from the connection to the complete greeting")
	flags.DurationVarP(&f.settings.Total, "timeout", "t", probe.DefaultTotal, "time for the whole probe, including name resolution")
	flags.DurationVar(&f.settings.Idle, "idle", probe.DefaultIdle, "silence that completes a greeting without newline; 0: off")
	flags.IntVarP(&f.settings.MaxBytes, "max-bytes", "m", probe.DefaultMaxBytes, "maximum size of a greeting")
	flags.StringArrayVarP(&f.expect, "expect", "e", nil, "the greeting must contain `TEXT`; repeated: any of them")
	flags.BoolVarP(&f.settings.ExpectAll, "expect-all", "A", false, "the greeting must contain all of --expect and --regex")
	flags.StringArrayVar(&f.regex, "regex", nil, "the greeting must match `RE`, ^ and $ at each line")
	flags.StringArrayVar(&f.reject, "reject", nil, "the greeting must not match `RE`")
	flags.StringVarP(&f.send, "send", "s", "", `send `+"`TEXT`"+` after the greeting, with \r \n \t \\ \xHH`)
	flags.BoolVar(&f.settings.SendFirst, "send-first", false, "send the text of --send right after connecting")
	flags.StringArrayVar(&f.step, "step", nil, "then make `STEP`: expect RE, reject RE, send TEXT or starttls")
	flags.StringVar(&f.stepsFile, "steps", "", "make the steps in `FILE` first, one a line, with # comments")
	flags.StringVar(&f.settings.EHLO, "ehlo", "", "`NAME` of this client in EHLO (default: its address)")
	flags.StringVarP(&f.quit, "quit", "q", "", `send `+"`TEXT`"+` before hanging up, with \r \n \t \\ \xHH`)
	flags.BoolVar(&f.tls, "tls", false, "use TLS")
	flags.StringVar((*string)(&f.settings.Protocol), "protocol", "", "require the protocol `NAME`; plain: any (default: guessed)")
	flags.StringVar((*string)(&f.settings.StartTLS), "starttls", "", "start TLS with the command of `PROTOCOL`, such as smtp")
	flags.StringVar(&f.sni, "sni", "", "`NAME` that the certificate must have (default: the host)")
	flags.StringVar(&f.ca, "ca", "", "trust only the certificates in `FILE` (PEM)")
	flags.BoolVar(&f.insecure, "insecure", false, "accept any certificate")
	flags.StringVar(&f.cert, "cert", "", "send the client certificate in `FILE` (PEM), with its chain")
	flags.StringVar(&f.key, "key", "", "private key in `FILE` (PEM; default: in that of --cert)")
	flags.StringVar(&f.tlsMin, "tls-min", "", "oldest `VERSION` of TLS: 1.0, 1.1, 1.2 or 1.3")
	flags.StringVar(&f.tlsMax, "tls-max", "", "newest `VERSION` of TLS")
	flags.StringVar(&f.proxy, "proxy", "", "begin with a PROXY header of `VERSION` v1 or v2")
	flags.BoolVarP(&f.settings.ConnectOnly, "connect-only", "z", false, "don't wait for a greeting")
	flags.CountVarP(&f.verbose, "verbose", "v", "show attempts, phases, round-trip time; repeat for more")
	complete(cmd, "protocol", names(probe.Protocols())...)
	complete(cmd, "starttls", names(probe.StartTLSProtocols())...)
	complete(cmd, "step", "expect ", "reject ", "send ", "starttls")
	complete(cmd, "proxy", "v1", "v2")
	complete(cmd, "tls-min", "1.0", "1.1", "1.2", "1.3")
	complete(cmd, "tls-max", "1.0", "1.1", "1.2", "1.3")
}

func names(protocols []probe.Protocol) (names []string) {
	for _, protocol := range protocols {
		names = append(names, string(protocol))
	}
	return names
}

// complete sets words as the completions of a flag.
func complete(cmd *cobra.Command, flag string, words ...cobra.Completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // only if there is no such flag, which is a mistake in this package
	}
}

// completeNothing sets no completions for each flag of cmd that has none yet, and no file as its value.
func completeNothing(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f)
		file := value == "FILE" || value == "COMMAND" || f.Name == "hdr"
		if _, set := cmd.GetFlagCompletionFunc(f.Name); !set && !file && f.NoOptDefVal == "" {
			complete(cmd, f.Name)
		}
	})
}

// probe returns the probe for flags. The error joins all problems of the flags.
func (f *probeFlags) probe(flags *pflag.FlagSet) (*probe.Probe, error) {
	p := f.settings
	if p.Idle == 0 {
		p.Idle = -1
	}
	errSteps := f.setSteps(&p)
	err := errors.Join(
		checkEmpty(flags), f.checkNumbers(), errSteps, f.checkPairs(flags, &p),
		f.setAddresses(&p), f.setPatterns(&p), f.setTexts(&p), f.setTLS(&p),
	)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// maybeEmpty are the flags that may have an empty value. It means that nothing is sent, or the default.
var maybeEmpty = []string{"send", "quit", "ehlo", "protocol"}

// checkEmpty refuses empty values, for example from a shell variable that is not set. Without that, an empty --ca
// or --starttls would have no effect, and the result would be that of another probe than the user wants.
func checkEmpty(flags *pflag.FlagSet) error {
	var errs flagErrors
	flags.Visit(func(f *pflag.Flag) {
		empty := f.Value.Type() == "string" && f.Value.String() == ""
		errs.refuse(empty && !slices.Contains(maybeEmpty, f.Name), "--%s: its value is empty; leave the flag out for the default", f.Name)
	})
	return errors.Join(errs...)
}

func (f *probeFlags) checkNumbers() error {
	var errs flagErrors
	set := f.settings
	errs.refuse(set.Connect <= 0, "--connect-timeout %s: must be more than 0", set.Connect)
	errs.refuse(set.Read <= 0, "--read-timeout %s: must be more than 0", set.Read)
	errs.refuse(set.Total <= 0, "--timeout %s: must be more than 0", set.Total)
	errs.refuse(set.Idle < 0, "--idle %s: can't be negative", set.Idle)
	errs.refuse(set.MaxBytes < 1 || set.MaxBytes > math.MaxInt32, "--max-bytes %d: must be between 1 and %d", set.MaxBytes, math.MaxInt32)
	return errors.Join(errs...)
}

type flagErrors []error

func (e *flagErrors) refuse(wrong bool, format string, args ...any) {
	if wrong {
		*e = append(*e, fmt.Errorf(format, args...))
	}
}

// checkPairs returns an error for flags that contradict each other, or would have no effect.
func (f *probeFlags) checkPairs(flags *pflag.FlagSet, p *probe.Probe) error {
	var errs flagErrors
	patterns := len(f.expect)+len(f.regex)+len(f.reject) > 0
	errs.refuse(f.ipv4 && f.ipv6, "-4 and -6 exclude each other; without them both families are tried")
	errs.refuse(p.ExpectAll && len(f.expect)+len(f.regex) == 0, "-A needs --expect or --regex")
	errs.refuse(p.ConnectOnly && patterns, "--connect-only reads no greeting that could be expected or rejected")
	errs.refuse(p.ConnectOnly && (f.send+f.quit != "" || p.StartTLS != "" || len(p.Steps) > 0), "--connect-only sends nothing")
	errs.refuse(f.tls && p.StartTLS != "", "--tls and --starttls exclude each other")
	errs.refuse((f.tls || p.StartTLS != "") && slices.ContainsFunc(p.Steps, probe.Step.StartsTLS), "there is TLS before the step starttls")
	errs.refuse(p.SendFirst && f.send == "", "--send-first needs --send TEXT")
	errs.refuse(strings.ContainsAny(p.EHLO, " \t\r\n\x00"), "--ehlo: a name has no white space")
	if !f.secure() {
		for _, name := range []string{"sni", "ca", "insecure", "cert", "key", "tls-min", "tls-max"} {
			errs.refuse(flags.Changed(name), "--%s needs --tls or --starttls", name)
		}
	}
	errs.refuse(p.Protocol != "" && !slices.Contains(probe.Protocols(), p.Protocol), "--protocol %s: there are %s", p.Protocol, strings.Join(names(probe.Protocols()), ", "))
	errs.refuse(p.Protocol != "" && p.ConnectOnly, "--connect-only reads no greeting that --protocol could understand")
	known := slices.Contains(probe.StartTLSProtocols(), p.StartTLS)
	errs.refuse(p.StartTLS != "" && !known, "--starttls %s: there are %s", p.StartTLS, strings.Join(names(probe.StartTLSProtocols()), ", "))
	errs.refuse(known && !p.StartTLS.Greets() && (patterns || f.send != ""), "--starttls %s: its servers don't greet: there is nothing to expect, reject or answer", p.StartTLS)
	return errors.Join(errs...)
}

func (f *probeFlags) setAddresses(p *probe.Probe) error {
	switch {
	case f.ipv4:
		p.Family = 4
	case f.ipv6:
		p.Family = 6
	}
	var errs flagErrors
	p.Proxy = slices.Index([]string{"", "v1", "v2"}, f.proxy)
	errs.refuse(p.Proxy < 0, "--proxy %s: the versions are v1 and v2", f.proxy)
	if f.source != "" && !f.network {
		var err error
		p.Source, err = netip.ParseAddr(f.source)
		errs.refuse(err != nil, "--source %q is not an address", f.source)
	}
	return errors.Join(errs...)
}

func (f *probeFlags) setPatterns(p *probe.Probe) error {
	var errs flagErrors
	for _, text := range f.expect {
		errs.refuse(text == "", "--expect: an empty text is in every greeting")
		p.Expect = append(p.Expect, probe.Text(text))
	}
	for _, list := range []struct {
		flag  string
		exprs []string
		to    *[]probe.Pattern
	}{{"regex", f.regex, &p.Expect}, {"reject", f.reject, &p.Reject}} {
		for _, expr := range list.exprs {
			pattern, err := probe.Regexp(expr)
			errs.refuse(err != nil, "--%s %w", list.flag, err)
			*list.to = append(*list.to, pattern)
		}
	}
	return errors.Join(errs...)
}

func (f *probeFlags) setTexts(p *probe.Probe) error {
	var errs flagErrors
	var errSend, errQuit error
	p.Send, errSend = probe.Unescape(f.send)
	errs.refuse(errSend != nil, "--send: %w", errSend)
	p.Quit, errQuit = probe.Unescape(f.quit)
	errs.refuse(errQuit != nil, "--quit: %w", errQuit)
	return errors.Join(errs...)
}

func (f *probeFlags) secure() bool { return f.tls || f.settings.StartTLS != "" || f.tlsStep }

func (f *probeFlags) setSteps(p *probe.Probe) error {
	var errs flagErrors
	add := func(where, line string) {
		step, err := probe.ParseStep(line)
		errs.refuse(err != nil, "%s %w", where, err)
		p.Steps = append(p.Steps, step)
	}
	if f.stepsFile != "" {
		text, err := os.ReadFile(f.stepsFile)
		if err != nil {
			return fmt.Errorf("--steps: %w", err)
		}
		n := 0
		for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
			n++
			line = strings.TrimRight(line, "\r\n")
			if start := strings.TrimLeft(line, " \t"); start != "" && !strings.HasPrefix(start, "#") {
				add(fmt.Sprintf("%s:%d: step", f.stepsFile, n), line)
			}
		}
		if len(p.Steps) == 0 {
			return fmt.Errorf("--steps %s: no step in it", f.stepsFile)
		}
	}
	for _, line := range f.step {
		add("step", line)
	}
	f.tlsStep = slices.ContainsFunc(p.Steps, probe.Step.StartsTLS)
	return errors.Join(errs...)
}

func (f *probeFlags) setTLS(p *probe.Probe) error {
	if !f.secure() {
		return nil
	}
	p.TLS = &tls.Config{ServerName: f.sni, InsecureSkipVerify: f.insecure} //nolint:gosec // asked for by --insecure
	return errors.Join(f.setAuthorities(p.TLS), f.setCertificate(p.TLS), f.setVersions(p.TLS))
}

func (f *probeFlags) setAuthorities(config *tls.Config) error {
	if f.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--ca %s: no certificate in it (PEM)", f.ca)
	}
	return nil
}

// tlsVersions are the values of --tls-min and --tls-max.
var tlsVersions = map[string]uint16{
	"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// setVersions sets the TLS versions of --tls-min and --tls-max. By default it allows all versions that crypto/tls
// supports, so that the probe can report an old version instead of only failing.
func (f *probeFlags) setVersions(config *tls.Config) error {
	var errs flagErrors
	for _, flag := range []struct {
		name, value string
		to          *uint16
	}{{"tls-min", cmp.Or(f.tlsMin, "1.0"), &config.MinVersion}, {"tls-max", cmp.Or(f.tlsMax, "1.3"), &config.MaxVersion}} {
		*flag.to = tlsVersions[flag.value]
		errs.refuse(*flag.to == 0, "--%s %s: the versions are 1.0, 1.1, 1.2 and 1.3", flag.name, flag.value)
	}
	errs.refuse(len(errs) == 0 && config.MinVersion > config.MaxVersion, "--tls-min %s is above --tls-max %s", f.tlsMin, cmp.Or(f.tlsMax, "1.3"))
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
	return errors.Join(errs...)
}
