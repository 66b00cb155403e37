// Package probe connects to servers that speak first and reads their greeting: it
// resolves, connects, reads one greeting, checks it, and reports how long each step took.
//
//	var p probe.Probe // the defaults
//	target, err := probe.ParseTarget("mail.example:smtp")
//	...
//	r := p.Do(ctx, target)
//	fmt.Println(r.Status, string(r.Greeting.Bytes))
//
// A greeting is read as the standard of its protocol says, and a refusal in it is a
// status of its own, [RefusedByServer]. Nothing is sent unless asked for, except to leave
// as the protocol wants it; with [Plain] not even that. Every step has an absolute deadline, so no
// server can hold a probe longer than [Probe.Total], whatever it sends. A Probe or
// Target that can't be used gives a [Result] with an error, and nothing here panics.
package probe
