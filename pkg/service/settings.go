package service

import (
	"cmp"
	"time"
)

const (
	defaultWriteTimeout     = 5 * time.Second
	defaultHandshakeTimeout = 3 * time.Second
	defaultLingerTimeout    = time.Second
)

// Settings are the fields of a [Server] that [Server.Update] can replace while the server runs. The
// fields of the same names in Server describe them. The zero value has the settings of a zero Server.
type Settings struct {
	Greeter          Greeter
	Admit            func(Peer) (leave func(), err error)
	WriteTimeout     time.Duration
	HandshakeTimeout time.Duration
	LingerTimeout    time.Duration
	MaxConns         int
	OmitLocal        bool
}

// orDefaults returns settings without zero values that stand for a default.
func (s Settings) orDefaults() Settings {
	if s.Greeter == nil {
		s.Greeter = hello{}
	}
	s.WriteTimeout = cmp.Or(s.WriteTimeout, defaultWriteTimeout)
	s.HandshakeTimeout = cmp.Or(s.HandshakeTimeout, defaultHandshakeTimeout)
	s.LingerTimeout = cmp.Or(s.LingerTimeout, defaultLingerTimeout)
	return s
}

// rules are the settings of one visit from its start to its end: the server's settings, and its listener's.
type rules struct {
	Settings
	listener Listener
}

// handshakes reports whether a visit begins with a PROXY header or TLS.
func (r *rules) handshakes() bool { return r.listener.Unwrap != nil || r.listener.TLS != nil }

// grace is the time after which an unfinished handshake may be ended to make room for a new client.
func (s Settings) grace() time.Duration { return s.HandshakeTimeout / 6 }
