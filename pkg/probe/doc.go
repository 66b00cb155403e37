// Package probe connects to servers that speak first and reads their greeting: it
// resolves, connects, reads one greeting, checks it, and reports how long each step took.
//
//	var p probe.Probe // the defaults
//	target, err := probe.ParseTarget("mail.example:smtp")
//	...
//	r := p.Do(ctx, target)
//	fmt.Println(r.Status, string(r.Greeting.Bytes))
//
// A greeting is read according to the standard of its protocol. If it is a refusal, the status is
// [RefusedByServer]. By default a probe sends only the command with which the protocol ends a
// session, and with [Plain] it sends nothing. Every step has an absolute deadline, so no server can
// hold a probe longer than [Probe.Total], whatever it sends. An invalid Probe or Target gives a
// [Result] with an error. No function panics.
package probe
