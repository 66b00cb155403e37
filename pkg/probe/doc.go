// Package probe asks a server that speaks first what it has to say: it resolves,
// connects, reads one greeting, judges it, and tells how long each step took.
//
//	var p probe.Probe // the defaults
//	target, err := probe.ParseTarget("mail.example:smtp")
//	...
//	r := p.Do(ctx, target)
//	fmt.Println(r.Status, string(r.Greeting.Bytes))
//
// Nothing is sent unless asked for. Every step has an absolute deadline, so no
// server can hold a probe longer than [Probe.Total], whatever it sends.
package probe
