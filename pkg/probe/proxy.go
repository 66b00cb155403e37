package probe

import (
	"fmt"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// announce sends a PROXY header with the connection's own addresses, and reports
// whether it could. On a unix socket it says that they are unknown.
func (r *run) announce(w *wire) bool {
	if r.p.Proxy == 0 {
		return true
	}
	began := time.Now()
	header := proxyproto.HeaderProxyFromAddrs(byte(r.p.Proxy), w.LocalAddr(), w.RemoteAddr())
	if _, err := header.WriteTo(w); err != nil {
		r.broken(w, PhaseProxy, Reset, fmt.Errorf("send the PROXY header: %w", reason(err)))
		return false
	}
	r.Timing.Proxy = since(began)
	return true
}
