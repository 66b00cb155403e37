package probe

import (
	"context"
	"errors"
	"fmt"
)

// A run is one probe under way.
type run struct {
	p *Probe
	Result
	rules Protocol // the rules by which the greeting was read; "": none
	timed bool     // Timing.Total is set; only the end of the session follows
	plain bool     // the server does not support STARTTLS; the connection still works in plain text
}

func (r *run) fail(phase Phase, status Status, err error) {
	r.Phase, r.Status, r.Err = phase, status, err
}

// broken ends the probe because of err, or of an interrupt that made it.
func (r *run) broken(w *wire, phase Phase, status Status, err error) {
	if errors.Is(w.ctx.Err(), context.Canceled) {
		status, err = Canceled, context.Canceled
	}
	r.fail(phase, status, err)
}

// over reports whether the server can say no more. Silence, a limit and a pattern end
// a greeting whose line may go on.
func (r *run) over() bool { return r.Greeting.End == EndEOF || r.Greeting.End == EndReset }

func (r *run) refuse(phase Phase, refused Refusal) {
	r.Refusal = &refused
	how := "refused by the server"
	if refused.Temporary {
		how += " for now"
	}
	r.fail(phase, RefusedByServer, fmt.Errorf("%s: %q", how, refused.Text))
}
