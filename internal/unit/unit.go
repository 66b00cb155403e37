// Package unit asks systemd about the unit that runs greetd. It has the settings of the unit that affect the
// configuration, such as the addresses of socket units and the maximum time of a stop.
package unit

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Booted reports whether systemd runs this machine (sd_booted(3)).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// A Service is a unit of type service.
type Service struct {
	Name        string        // such as greetd.service
	TimeoutStop time.Duration // TimeoutStopSec=; 0: no limit
	Sockets     []Socket      // the socket units that listen for it
}

// A Socket is one socket unit.
type Socket struct {
	Name      string   // such as greetd.socket
	Listener  string   // FileDescriptorName=
	Addresses []string // of its stream sockets, as the configuration writes them
}

// Ask asks systemd for the properties of a service, over the system bus, or, as root, directly.
func Ask(ctx context.Context, name string) (Service, error) {
	s := Service{Name: name}
	systemd, err := dbus.NewWithContext(ctx)
	if err != nil {
		return s, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	defer systemd.Close()
	properties, err := systemd.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return s, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	if usec, _ := properties["TimeoutStopUSec"].(uint64); usec < math.MaxInt64/1000 {
		s.TimeoutStop = time.Duration(usec) * time.Microsecond
	}
	triggers, _ := properties["TriggeredBy"].([]string)
	for _, trigger := range triggers {
		socket, err := systemd.GetAllPropertiesContext(ctx, trigger)
		if err == nil && strings.HasSuffix(trigger, ".socket") && socket["ActiveState"] == "active" {
			s.Sockets = append(s.Sockets, socketOf(trigger, socket))
		}
	}
	return s, nil
}

func socketOf(name string, properties map[string]any) Socket {
	s := Socket{Name: name}
	s.Listener, _ = properties["FileDescriptorName"].(string)
	listen, _ := properties["Listen"].([][]any)
	for _, l := range listen {
		if len(l) != 2 || l[0] != "Stream" {
			continue
		}
		address := fmt.Sprint(l[1])
		if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") {
			address = "unix:" + address
		}
		s.Addresses = append(s.Addresses, address)
	}
	return s
}

// StopTooLong returns a warning with a remedy if a stop can take longer than TimeoutStopSec=. stop is the sum of
// timeouts.lameduck and timeouts.drain. It returns "" if the time is enough.
func (s Service) StopTooLong(stop time.Duration) string {
	if s.TimeoutStop == 0 || stop < s.TimeoutStop {
		return ""
	}
	return fmt.Sprintf("timeouts.lameduck and timeouts.drain (%v together) are not below TimeoutStopSec=%v of %s: greetd asks systemd for the time that is missing; "+
		"shorten them, or systemctl edit %s: [Service] TimeoutStopSec=%d", stop, s.TimeoutStop, s.Name, s.Name, int((stop + 10*time.Second).Seconds()))
}

// NotKept returns a warning with a remedy if the fd store of the service is too small for the listeners that greetd
// has bound itself: clients of the others are refused while the service restarts. most is the size of the fd store,
// and own the number of these listeners. It returns "" if the fd store is large enough.
func NotKept(service string, most, own int) string {
	if own <= most {
		return ""
	}
	return fmt.Sprintf("%s started with FileDescriptorStoreMax=%d, fewer than its own listeners (%d): at a restart, clients of %d are refused; "+
		"systemctl edit %s: [Service] FileDescriptorStoreMax=%d; then systemctl restart %s",
		service, most, own, own-most, service, max(2*own, DefaultStoreMax), service)
}

// DefaultStoreMax is FileDescriptorStoreMax= of the unit that comes with greetd.
const DefaultStoreMax = 512

// NotServed returns a warning with a remedy if the address of a listener in the configuration is not served, because
// a socket unit has another address for it. It returns "" if the address is served, or if no socket unit has a socket
// with the name of the listener.
func (s Service) NotServed(listener, address string) string {
	var socket string
	var given []string
	for _, unit := range s.Sockets {
		if unit.Listener == listener {
			socket = unit.Name
			given = append(given, unit.Addresses...)
		}
	}
	if len(given) == 0 || slices.ContainsFunc(given, func(g string) bool { return Same(address, g) }) {
		return ""
	}
	stream := strings.TrimPrefix(strings.TrimPrefix(address, "unix:"), ":")
	return fmt.Sprintf("%s is not served: %s gives the address, %s; to change it, edit /etc/systemd/system/%s.d/override.conf (systemctl edit %s): "+
		"[Socket], ListenStream= (empty), ListenStream=%s; then systemctl stop %s %s; systemctl start %s",
		address, socket, strings.Join(given, " and "), socket, socket, stream, s.Name, socket, socket)
}

// Same reports whether a configured address is the address of a socket. For a host name, it compares only the port.
func Same(configured, given string) bool {
	if a, isUnix := strings.CutPrefix(configured, "unix:"); isUnix {
		b, isUnix := strings.CutPrefix(given, "unix:")
		return isUnix && path.Clean(a) == path.Clean(b)
	}
	host, port, err := net.SplitHostPort(configured)
	if err != nil {
		return false
	}
	socket, err := netip.ParseAddrPort(given)
	if err != nil {
		return false
	}
	if number, err := net.LookupPort("tcp", port); err != nil || number != int(socket.Port()) { //nolint:noctx // asks no network, only /etc/services
		return false
	}
	if host == "" {
		return socket.Addr().IsUnspecified()
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || ip.Unmap() == socket.Addr().Unmap()
}
