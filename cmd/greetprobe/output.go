package main

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"sync"

	"greetd.example/pkg/probe"
)

// An output reports results, one call at a time.
type output struct {
	*rootFlags
	streams
	count   int // number of results
	exit    int // the largest exit code up to now
	midline bool
	metrics metrics
	hinted  map[string]bool
	line    *progressLine
	tries   sync.Mutex
}

func newOutput(f *rootFlags, std streams) *output {
	return &output{rootFlags: f, streams: std, metrics: metrics{labels: f.labels}, hinted: map[string]bool{}}
}

// result reports the result of a probe. It ignores an interrupted probe.
func (o *output) result(r probe.Result) {
	if r.Status == probe.Canceled {
		return
	}
	defer o.line.aside()()
	o.line.count(r.Status == probe.OK)
	o.count++
	o.exit = max(o.exit, exitFor(r.Status))
	if o.output == "prom" || o.textfile != "" {
		o.metrics.add(r)
	}
	o.print(r)
	if o.verbose > 0 {
		explain(o.err, r)
	} else if r.TLS != nil && len(r.TLS.Old) > 0 {
		o.say("%s: old: %s", safe(r.Target.String()), safe(strings.Join(r.TLS.Old, ", ")))
	}
	switch {
	case r.Status == probe.InvalidTarget: // the error has the line of the target
		o.say("%s", safe(r.Err.Error()))
	case r.Err != nil:
		o.say("%s: %s", safe(r.Target.String()), safe(r.Err.Error()))
		o.hint(r)
	}
}

// hint prints the hint for a result, each hint once, since it applies to all targets of the command line.
func (o *output) hint(r probe.Result) {
	text := o.rootFlags.hint(r)
	if text == "" || o.quiet || o.hinted[text] {
		return
	}
	o.hinted[text] = true
	o.say("hint: %s", text)
}

// readable yields the targets of entries. If an entry has an error instead of a target, it reports the error when
// it reaches this entry.
func (o *output) readable(entries []entry) iter.Seq[probe.Target] {
	return func(yield func(probe.Target) bool) {
		for _, e := range entries {
			if e.err != nil {
				o.result(e.result())
			} else if !yield(e.target) {
				return
			}
		}
	}
}

// try reports an attempt of --wait that did not succeed. It may be called concurrently.
func (o *output) try(r probe.Result) {
	if o.verbose > 0 {
		o.tries.Lock()
		defer o.tries.Unlock()
		defer o.line.aside()()
		o.say("%s: %s; trying again", safe(r.Target.String()), safe(r.Err.Error()))
	}
}

func (o *output) print(r probe.Result) {
	var text []byte
	switch {
	case o.quiet || o.output == "prom":
		return
	case o.output == "json":
		text = append(object(r), '\n')
	case r.Greeting != nil && len(r.Greeting.Bytes) > 0:
		text = o.text(r)
	}
	_, _ = o.out.Write(text)
}

// text returns the greeting after its headline. It ends with a newline, unless the output is raw.
func (o *output) text(r probe.Result) []byte {
	var b bytes.Buffer
	if o.midline {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s says:\n", safe(r.Target.String()))
	if o.raw {
		b.Write(r.Greeting.Bytes)
	} else {
		b.WriteString(probe.Escape(r.Greeting.Bytes))
	}
	o.midline = !bytes.HasSuffix(b.Bytes(), []byte("\n"))
	if o.midline && !o.raw {
		b.WriteByte('\n')
		o.midline = false
	}
	return b.Bytes()
}

// end writes the output that needs all results, such as metrics, and returns the exit code.
func (o *output) end() error {
	if o.output == "prom" && !o.quiet {
		_, _ = o.out.Write(o.metrics.text())
	}
	if o.textfile != "" {
		if err := writeTextfile(o.textfile, o.metrics.text()); err != nil {
			o.say("write %s: %s", o.textfile, bare(err))
			o.exit = max(o.exit, exitLocal)
		}
	}
	return exitWith(o.exit)
}
