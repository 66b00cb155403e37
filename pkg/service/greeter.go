package service

// A Greeter makes the greetings. AppendGreeting appends the greeting for p to dst and returns the
// extended slice, as append does. It must not do I/O, and must not keep dst or the result. It is
// called from many goroutines at once. If it returns an error or panics, nothing is sent, and the
// visit ends as [Failed].
type Greeter interface {
	AppendGreeting(dst []byte, p Peer) ([]byte, error)
}

// Static greets everybody with the same text.
type Static string

// AppendGreeting implements [Greeter].
func (s Static) AppendGreeting(dst []byte, _ Peer) ([]byte, error) {
	return append(dst, s...), nil
}

// A GreeterFunc is a function that is a Greeter.
type GreeterFunc func(dst []byte, p Peer) ([]byte, error)

// AppendGreeting implements [Greeter].
func (f GreeterFunc) AppendGreeting(dst []byte, p Peer) ([]byte, error) { return f(dst, p) }

// hello is the greeter of a Server that has none.
type hello struct{}

func (hello) AppendGreeting(dst []byte, p Peer) ([]byte, error) {
	dst = append(dst, "Hello there, "...)
	if p.Remote.IsValid() {
		dst = p.Remote.Addr().AppendTo(dst)
	} else {
		dst = append(dst, "unix"...)
	}
	return append(dst, "!\n"...), nil
}
