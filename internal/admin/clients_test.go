package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/internal/webconfig"
)

// A visitor is the connection of a client, which sends nothing.
type visitor struct {
	net.Conn

	from   string
	closed bool
}

func (v *visitor) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(v.from)} }

func (v *visitor) Close() error {
	v.closed = true
	return nil
}

// A queueOf is a listener that accepts what is in it, then ends.
type queueOf struct {
	net.Listener

	accept []func() (net.Conn, error)
}

func (q *queueOf) Accept() (net.Conn, error) {
	if len(q.accept) == 0 {
		return nil, net.ErrClosed
	}
	next := q.accept[0]
	q.accept = q.accept[1:]
	return next()
}

func (q *queueOf) Close() error   { return nil }
func (q *queueOf) Addr() net.Addr { return new(net.TCPAddr) }

// A gateTest is a limiter and the clients that it has.
type gateTest struct {
	*clientLimiter

	t       *testing.T
	serving sync.WaitGroup
}

func newGateTest(t *testing.T) *gateTest {
	t.Helper()
	g := &gateTest{t: t}
	g.clientLimiter = newClientLimiter(t.Context(), &queueOf{}, &g.serving, func(err error) { t.Error(err) })
	return g
}

// connect connects one client from an address; nil if it was turned away.
func (g *gateTest) connect(from string) *client {
	g.t.Helper()
	conn := &visitor{from: from}
	admitted, err := g.admit(conn)
	if err != nil || (admitted == nil) != conn.closed {
		g.t.Fatalf("%s: admitted %v, %v; closed: %t", from, admitted, err, conn.closed)
	}
	if admitted == nil {
		return nil
	}
	return clientOf(admitted)
}

// crowd connects n clients from an address, none of which is turned away.
func (g *gateTest) crowd(n int, from string) (all []*client) {
	g.t.Helper()
	for range n {
		c := g.connect(from)
		if c == nil {
			g.t.Fatalf("%s is turned away", from)
		}
		all = append(all, c)
	}
	return all
}

// gone is how many of the clients were hung up on.
func gone(clients []*client) (n int) {
	for _, c := range clients {
		if c.Conn.(*visitor).closed {
			n++
		}
	}
	return n
}

// fresh makes no client idle, as if each had just begun a request.
func fresh(clients ...[]*client) {
	for _, c := range slices.Concat(clients...) {
		c.beginRequest(false)
		c.endRequest()
	}
}

// With all places taken, somebody gives way to a newcomer: who has been idle for longest,
// else a client of the address that has the most of them, and of these the latest.
func TestWhoGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateTest(t)
		many, few := g.crowd(maxClients-10, "192.0.2.1"), g.crowd(10, "192.0.2.2")
		if gone(many)+gone(few) != 0 {
			t.Fatal("somebody gave way before all places were taken")
		}
		newcomer := g.crowd(1, "192.0.2.3")
		if gone(many) != 1 || !many[len(many)-1].Conn.(*visitor).closed || gone(few) != 0 {
			t.Errorf("%d of many gave way to one of another address, and %d of few; want the latest of many", gone(many), gone(few))
		}
		if c := g.connect("192.0.2.1"); c != nil {
			t.Error("one more of the address that has the most is no reason for another to give way")
		}

		time.Sleep(idle + 1)
		fresh(many, few[:3], few[4:], newcomer)
		g.crowd(1, "192.0.2.1") // of an address with many clients, and yet no place is worth as little as an idle one
		if !few[3].Conn.(*visitor).closed || gone(few) != 1 {
			t.Error("the idle one did not give way")
		}
		if len(g.clients) != maxClients {
			t.Errorf("%d clients have a place, want %d", len(g.clients), maxClients)
		}
	})
}

// Of several idle clients the one goes that has been idle for longest, and who waits for an
// answer, or changes something, is not idle.
func TestTheIdlestGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateTest(t)
		for g.queue.limit.Allow() { // the next request has to wait
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waits, reloads := g.connect("192.0.2.1"), g.connect("192.0.2.1")
		g.queue.limit.SetLimit(0)
		waiting.Go(func() { _ = g.wait(ctx, waits) })
		reloads.beginRequest(true)
		synctest.Wait()
		second := g.crowd(1, "192.0.2.2")
		time.Sleep(time.Second)
		third := g.crowd(1, "192.0.2.3")
		time.Sleep(time.Second)
		second[0].beginRequest(false) // and does not end it
		time.Sleep(time.Second)
		rest := g.crowd(maxClients-4, "192.0.2.4")
		time.Sleep(idle + 1)
		for _, want := range [][]*client{third, second} {
			g.crowd(1, "192.0.2.5")
			if gone(want) != 1 {
				t.Errorf("the client that was idle for longest has its place still")
			}
		}
		if gone([]*client{waits, reloads}) != 0 || gone(rest) != 0 {
			t.Errorf("%d of those gave way that wait for a reload or an answer, %d of those that came later",
				gone([]*client{waits, reloads}), gone(rest))
		}
		cancel()
		waiting.Wait()
	})
}

// Whose place was taken is given back, once, however the client went.
func TestPlacesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateTest(t)
		for range 3 { // evicted, and then its goroutine ends; or hung up by itself
			all := g.crowd(maxClients, "192.0.2.1")
			time.Sleep(idle + 1)
			other := g.crowd(100, "192.0.2.2")
			if gone(all) != 100 {
				t.Fatalf("%d gave way to 100", gone(all))
			}
			for _, c := range slices.Concat(all, other) {
				c.release()
			}
			if len(g.clients) != 0 || len(g.sources) != 0 {
				t.Fatalf("%d clients and %d addresses are counted when all have gone", len(g.clients), len(g.sources))
			}
		}
		g.serving.Wait() // for ever, if one is not given back
		most, fewer := g.crowd(300, "192.0.2.1"), g.crowd(maxClients-300, "192.0.2.2")
		g.crowd(1, "192.0.2.3")
		if gone(most) != 1 || gone(fewer) != 0 {
			t.Errorf("%d of 300 and %d of %d gave way", gone(most), gone(fewer), maxClients-300)
		}
	})
}

// Whoever gives way while its request waits is not answered, and does not wait on.
func TestWhoGaveWayIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateTest(t)
		for g.queue.limit.Allow() {
		}
		g.queue.limit.SetLimit(0)
		c := g.connect("192.0.2.1")
		ended := make(chan error, 1)
		go func() { ended <- g.wait(t.Context(), c) }()
		synctest.Wait()
		g.drain()
		synctest.Wait()
		select {
		case err := <-ended:
			if err != nil || c.beginRequest(false) {
				t.Errorf("it was answered after it was hung up on (%v)", err)
			}
		default:
			t.Fatal("it waits for an answer still")
		}
		late := &visitor{from: "192.0.2.1"}
		if admitted, err := g.admit(late); !errors.Is(err, net.ErrClosed) || admitted != nil || !late.closed {
			t.Errorf("after the end: %v, %v, closed %t", admitted, err, late.closed)
		}
	})
}

// A client that is being answered when greetd stops, or when what clients need changes, is
// hung up on after its answer.
func TestAnsweredClientsAreLetGo(t *testing.T) {
	for name, end := range map[string]func(*gateTest){
		"greetd stops": func(g *gateTest) { g.drain() },
		"other needs":  func(g *gateTest) { g.protect(new(webconfig.Config)) },
	} {
		g := newGateTest(t)
		busy, silent := g.connect("192.0.2.1"), g.connect("192.0.2.2")
		busy.beginRequest(true)
		end(g)
		if gone([]*client{busy}) != 0 || gone([]*client{silent}) != 1 {
			t.Errorf("%s: hung up before the answer, or not on the silent one", name)
		}
		busy.endRequest()
		if gone([]*client{busy}) != 1 {
			t.Errorf("%s: not hung up after the answer", name)
		}
	}
	g := newGateTest(t)
	busy, silent := g.connect("192.0.2.1"), g.connect("192.0.2.2")
	busy.beginRequest(false)
	g.protect(nil)
	if busy.endRequest(); gone([]*client{busy, silent}) != 0 {
		t.Error("a client was hung up on, though it needs nothing new")
	}
}

// A password that has to be checked takes the time of ten requests from those that come next.
func TestPasswordsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateTest(t)
		for range requestBurst / passwordCost {
			g.slowDown()
		}
		began := time.Now()
		if err := g.wait(t.Context(), g.connect("192.0.2.1")); err != nil {
			t.Error(err)
		}
		if took := time.Since(began).Round(time.Millisecond); took != time.Second/requestRate {
			t.Errorf("after ten passwords the next request waits %s, want %s", took, time.Second/requestRate)
		}
	})
}

// A handshake costs as much as a request, and waits in the same queue.
func TestHandshakesWait(t *testing.T) {
	ca, dir := testserver.NewAuthority(t), t.TempDir()
	testserver.WritePair(t, dir, ca.Sign(t, &x509.Certificate{DNSNames: []string{"greet.example"}}))
	file := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(file, []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	web, err := webconfig.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGateTest(t)
		g.protect(web)
		for g.queue.limit.Allow() {
		}
		near, far := net.Pipe()
		server := g.secure(&client{Conn: far, limiter: g.clientLimiter, source: "192.0.2.1"}).(*tls.Conn)
		client := tls.Client(near, &tls.Config{InsecureSkipVerify: true}) // in fake time, the certificate is not valid yet
		began := time.Now()
		served := make(chan error, 1)
		go func() { served <- server.HandshakeContext(t.Context()) }()
		if err := errors.Join(client.HandshakeContext(t.Context()), <-served); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took == 0 {
			t.Error("a handshake did not wait for its turn")
		}
		near.Close()
		far.Close()
	})
}

// Errors that pass are met with pauses that double up to 250 ms, and reported once a minute,
// but not the first of them, which may be one client's fault.
func TestAcceptPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		last := time.Now()
		fails := func() (net.Conn, error) {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			return nil, syscall.ENOBUFS
		}
		works := func() (net.Conn, error) { return &visitor{from: "192.0.2.1"}, nil }
		ln := &queueOf{accept: []func() (net.Conn, error){fails, works}}
		var reports []error
		var serving sync.WaitGroup
		l := newClientLimiter(t.Context(), ln, &serving, func(err error) { reports = append(reports, err) })
		accept := func() error { _, err := l.Accept(); return err }
		if err := accept(); err != nil || len(reports) != 0 {
			t.Errorf("one failure: %v, reported %v", err, reports)
		}
		last, pauses = time.Now(), nil
		ln.accept = append(slices.Repeat([]func() (net.Conn, error){fails}, 9), works)
		if err := accept(); err != nil {
			t.Error(err)
		}
		var want []time.Duration
		for _, ms := range []int{0, 5, 10, 20, 40, 80, 160, 250, 250} {
			want = append(want, time.Duration(ms)*time.Millisecond)
		}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
		if len(reports) != 1 || !errors.Is(reports[0], syscall.ENOBUFS) {
			t.Errorf("reported %v, want one", reports)
		}
		time.Sleep(time.Minute)
		ln.accept = []func() (net.Conn, error){fails, fails, works}
		if err := accept(); err != nil || len(reports) != 2 {
			t.Errorf("a minute later: %v, reported %v", err, reports)
		}
	})
}

// Who is turned away is no reason to stop accepting, and what fails before and after is not
// twice in a row.
func TestAcceptGoesOnAfterOneIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &queueOf{}
		var serving sync.WaitGroup
		l := newClientLimiter(t.Context(), ln, &serving, func(err error) { t.Error(err) })
		from := func(address string) func() (net.Conn, error) {
			return func() (net.Conn, error) { return &visitor{from: address}, nil }
		}
		for i := range maxClients {
			ln.accept = append(ln.accept, from(fmt.Sprintf("192.0.2.%d", 1+i/256)))
		}
		fails := func() (net.Conn, error) { return nil, syscall.EMFILE }
		ln.accept = append(ln.accept, fails, from("192.0.2.1"), fails, from("192.0.2.1"), from("192.0.2.3"))
		for range maxClients {
			if _, err := l.Accept(); err != nil {
				t.Fatal(err)
			}
		}
		c, err := l.Accept()
		if err != nil || clientOf(c).source != "192.0.2.3" {
			t.Errorf("accepted %v, %v, want the one of a new address", c, err)
		}
	})
}
