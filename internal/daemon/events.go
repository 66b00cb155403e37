package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"greetd.example/internal/certificate"
	"greetd.example/internal/config"
	"greetd.example/internal/limits"
	"greetd.example/internal/logging"
	"greetd.example/internal/settings"
	"greetd.example/internal/unit"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// tlsWarningInterval is the shortest time between two warnings about clients that expect TLS. Clients
// in between are not reported.
const tlsWarningInterval = 10 * time.Second

// warnTLSExpected returns a function that logs a client that began a TLS handshake with a listener
// without TLS, at most once in each tlsWarningInterval.
func (d *daemon) warnTLSExpected() func(service.Peer) {
	limit := rate.Sometimes{Interval: tlsWarningInterval}
	return func(p service.Peer) {
		limit.Do(func() {
			from := "a local client"
			fields := []logging.Field{logging.F("visit", p.ID), logging.F("listener", p.Listener)}
			if p.Remote.IsValid() {
				from = p.Remote.String()
				fields = append(fields, logging.F("remote_addr", p.Remote.Addr()), logging.F("remote_port", p.Remote.Port()))
			}
			d.log.Event(logging.TLSExpected, fmt.Sprintf(
				"%s sent a TLS handshake to %s, which greets in plain text: the client has the wrong port, or the listener has no certificate", from, p.Listener), fields...)
		})
	}
}

func (d *daemon) logListener(e logging.Event, what string, l *systemd.Listener) {
	address := strings.TrimPrefix(l.String(), l.Name()+" ") // with the origin
	d.log.Event(e, fmt.Sprintf("%s %s: listener %s", what, address, l.Name()),
		logging.F("listener", l.Name()), logging.F("address", l.Address()), logging.F("origin", string(l.Origin())))
}

// logProblem logs a problem that [systemd.Service] reports.
func (d *daemon) logProblem(err error) {
	event := logging.ConfigWarning
	if errors.As(err, new(unhealthy)) {
		event = logging.WatchdogRefused
	}
	d.log.Event(event, err.Error())
}

// warn logs settings of c that are valid, but probably do not have the effect that the operator wants. It returns
// those that a reload reports in addition to its changes.
func (d *daemon) warn(c current) (doubts []string) {
	log := func(key, message string) { d.log.Event(logging.ConfigWarning, message, logging.F("key", key)) }
	descriptors := limits.Descriptors()
	if needed := uint64(c.Limits.Connections) + limits.ReservedDescriptors; c.Limits.Connections > 0 && needed > descriptors {
		log("limits.connections", fmt.Sprintf(
			"limits.connections is %d, but the process may open only %d files: raise LimitNOFILE= (in a container, the ulimit nofile) to %d, or lower limits.connections",
			c.Limits.Connections, descriptors, needed))
	}
	settings.Doubts(c.Config, func(key, doubt string) {
		log(key, key+": "+doubt)
		doubts = append(doubts, key+": "+doubt)
	})
	for _, problem := range append(d.notServed(c), d.notKept()...) {
		log("listeners", problem)
		doubts = append(doubts, problem)
	}
	for _, p := range c.settings.AllCertificates() {
		if problem := certificate.Untimely(p.Served(), time.Now()); problem != "" {
			key := "admin.web_config_file"
			if i := slices.IndexFunc(c.Listeners, func(l config.Listener) bool { return l.Name == p.Listener }); i >= 0 {
				key = fmt.Sprintf("listeners[%d].tls.certificate", i)
			}
			log(key, fmt.Sprintf("certificate %s of listener %s %s", p.ChainFile, p.Listener, problem))
		}
	}
	return doubts
}

// notKept returns a warning if FileDescriptorStoreMax= of the unit is too small for the sockets that
// greetd has bound. It returns none if the limit is large enough or unknown. systemd 254 and later pass
// the limit in $FDSTORE; with older versions, notKept reads the files of the unit.
func (d *daemon) notKept() []string {
	name := systemd.Unit()
	if name == "" || d.systemd.Notifier == nil {
		return nil
	}
	most, err := strconv.Atoi(os.Getenv("FDSTORE"))
	if err != nil {
		var known bool
		if most, known = unit.Read("", name).StoreMax(); !known {
			return nil
		}
	}
	own := 0
	for _, l := range d.systemd.Listeners() {
		if l.Origin() != systemd.SocketUnit {
			own++
		}
	}
	if problem := unit.NotKept(name, most, own); problem != "" {
		return []string{problem}
	}
	return nil
}

// notServed returns a warning for each listener whose socket unit has another address than the
// configuration.
func (d *daemon) notServed(c current) (all []string) {
	service := unit.Service{Name: systemd.Unit()}
	socket := cmp.Or(strings.TrimSuffix(service.Name, ".service"), "its unit") + ".socket"
	for _, l := range d.systemd.Listeners() {
		if l.Origin() == systemd.SocketUnit {
			service.Sockets = append(service.Sockets, unit.Socket{Name: socket, Listener: l.Name(), Addresses: []string{l.Address()}})
		}
	}
	for i, l := range c.Listeners {
		if problem := service.NotServed(l.Name, l.Address); problem != "" && c.IsSet(fmt.Sprintf("listeners[%d].address", i)) {
			all = append(all, fmt.Sprintf("listener %s: %s", l.Name, problem))
		}
	}
	return all
}

// warnUnit logs a warning if a stop can take longer than the unit allows, and another one if the sockets
// of listeners still have the address filter of an earlier start. It reads the files of the unit, since
// the sandbox hides the bus of systemd.
func (d *daemon) warnUnit() {
	name := systemd.Unit()
	if name == "" || d.systemd.Notifier == nil {
		return
	}
	files := unit.Read("", name)
	service := unit.Service{Name: name, TimeoutStop: files.TimeoutStop()}
	timeouts := d.inForce().Timeouts
	if problem := service.StopTooLong(timeouts.LameDuck + timeouts.Drain); problem != "" {
		d.log.Event(logging.ConfigWarning, problem, logging.F("key", "timeouts.drain"))
	}
	if stored := d.stored(); files.FiltersAddresses() && len(stored) > 0 {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf(
			"IPAddressAllow= and IPAddressDeny= of %s apply to %s as they were when an earlier start bound the socket, which systemd has kept; to apply a later change of them: %s",
			name, strings.Join(stored, ", "), files.BindAgain(name)), logging.F("key", "listeners"))
	}
}

// stored returns the names of the TCP listeners whose sockets came from the fd store.
func (d *daemon) stored() (names []string) {
	for _, l := range d.systemd.Listeners() {
		if l.Origin() == systemd.FDStore && l.Addr().Network() == "tcp" {
			names = append(names, "listener "+l.Name())
		}
	}
	return names
}

// capByMemory lowers limits.connections, and logs a warning, if the memory limit of the control group
// is not enough for this number of connections.
func (d *daemon) capByMemory(c *config.Config, s settings.Settings) {
	if d.memory == 0 {
		return
	}
	asked, most := c.Limits.Connections, limits.Connections(d.memory, s.TLS())
	if asked > 0 && asked <= most {
		return
	}
	c.Limits.Connections, s.Service.MaxConns = most, most
	d.log.Event(logging.ConfigWarning, fmt.Sprintf(
		"limits.connections is %d, but the memory limit of the control group (%d MiB) is enough for only %d, which is the limit now: raise MemoryMax= (in a container, its memory limit), or lower limits.connections",
		asked, d.memory>>20, most), logging.F("key", "limits.connections"))
}

// cpus returns a field for the log with the number of CPUs that Go uses.
func cpus() logging.Field { return logging.F("cpus", runtime.GOMAXPROCS(0)) }

func logOptions(l config.Log) logging.Options {
	return logging.Options{Output: l.Output, Level: l.Level, Format: l.Format, Visits: l.Visits, Rate: l.Rate, Burst: l.Burst, Skip: l.Skip}
}
