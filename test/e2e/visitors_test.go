package e2e

import (
	"io"
	"net"
	"time"
)

// visitSettings is a configuration under which visits end in every way but cut, which takes a
// stop. See visitors for what each client does.
const visitSettings = `
listeners:
  - {name: greet, address: ":10000"}
  - {name: balanced, address: ":10001", proxy_trusted: [198.51.100.9]}
greeting: 'Hello there, {{.IP}}!{{if eq .IP "192.0.2.66"}}{{slice .IP 99}}{{end}}{{"\n"}}'
access: {deny: [203.0.113.0/24]}
limits: {per_source: {rate: 1, burst: 10}}
timeouts: {handshake: 500ms}
log: {rate: 50, burst: 100}
admin: {address: "127.0.0.1:9180"}
`

// The machine's own address, and those of its visitors.
const (
	server = "192.0.2.1"
	proxy  = "198.51.100.9" // a load balancer
	denied = "203.0.113.5"  // by access.deny
	broken = "192.0.2.66"   // the template fails for it
	greedy = "192.0.2.99"   // comes more often than it may
	phone  = "192.0.2.7"    // behind the load balancer, too
	sixth  = "2001:db8::7"
)

// town gives the machine those addresses.
func (m *machine) town() {
	m.Helper()
	for _, address := range []string{server, proxy, denied, broken, greedy, phone} {
		m.run("ip", "address", "add", address+"/32", "dev", "lo")
	}
	m.run("ip", "address", "add", sixth+"/128", "dev", "lo", "nodad")
}

// call is a visit from one address of the machine to another: a client that says
// something first, unless that is "", and reads to the end. What becomes of it is for the
// journal to tell.
func (m *machine) call(from, address, say string) {
	m.Helper()
	c := m.callOnly(from, address)
	defer c.Close()
	_, _ = io.WriteString(c, say)
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	_, _ = io.Copy(io.Discard, c)
}

// callOnly connects.
func (m *machine) callOnly(from, address string) net.Conn {
	m.Helper()
	var c net.Conn
	err := m.inside(func() (err error) {
		dialer := net.Dialer{Timeout: waitLimit, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err = dialer.Dial("tcp", address)
		return err
	})
	if err != nil {
		m.Fatal(err)
	}
	return c
}

// visitors come one after the other: five who are greeted, one of them over IPv6 and two
// by way of the load balancer, and one for each other outcome; the last ones are too many.
func (m *machine) visitors() {
	m.Helper()
	m.call(phone, server+":10000", "")
	m.call(phone, server+":10000", "")
	m.call(sixth, "["+sixth+"]:10000", "")
	for range 2 {
		m.call(proxy, server+":10001", "PROXY TCP4 "+phone+" "+server+" 41000 10001\r\n")
	}
	m.call(denied, server+":10000", "")
	m.call(broken, server+":10000", "")
	m.call(proxy, server+":10001", "") // it never says for whom
	hasty := m.callOnly(proxy, server+":10001")
	_ = hasty.(*net.TCPConn).SetLinger(0)
	_ = hasty.Close()
	for range 15 {
		m.call(greedy, server+":10000", "")
	}
}
