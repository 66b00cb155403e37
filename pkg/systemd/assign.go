package systemd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// An assignment says which sockets serve which listener. To apply it: bind the listeners without a
// socket, Remove and Forget the obsolete sockets, and Store the rest. Forget must come before Store,
// since the old and the new socket of an address have the same name. An obsolete socket that overlaps a
// new address must be removed before the bind.
type assignment struct {
	Serving  [][]openSocket // the sockets of each ListenConfig, in their order; if there is none, bind one
	Obsolete []openSocket   // sockets that no listener uses any more
}

// assign decides which sockets serve wants. It changes nothing. At a start, sockets are those that
// systemd passed; at a reload, those in use.
//
// If any socket is from a socket unit, systemd binds all sockets, and this process binds none. Each
// listener then has the sockets of its name, every listener must have a socket, and every socket a
// listener. A socket without a name belongs to the only listener, or to the listener with its address.
// If this is not possible, the error has all reasons, with their remedies. Sockets that this service has
// bound itself are then obsolete.
//
// Otherwise a listener keeps the socket that was bound for its address and ReusePort, even if it had
// another name.
func assign(wants []ListenConfig, sockets []openSocket) (assignment, error) {
	var units, ours []openSocket
	for _, s := range sockets {
		if s.Origin == SocketUnit {
			units = append(units, s)
		} else {
			ours = append(ours, s)
		}
	}
	if len(units) == 0 {
		return assignOurs(wants, ours), nil
	}
	serving, err := assignUnits(wants, units)
	if err != nil {
		return assignment{}, err
	}
	return assignment{Serving: serving, Obsolete: ours}, nil
}

func assignOurs(wants []ListenConfig, ours []openSocket) assignment {
	a := assignment{Serving: make([][]openSocket, len(wants))}
next:
	for _, s := range ours {
		for i, want := range wants {
			if s.boundFor(want) && isFurther(s, a.Serving[i], want) {
				s.Address = want.Address
				a.Serving[i] = append(a.Serving[i], s)
				continue next
			}
		}
		a.Obsolete = append(a.Obsolete, s)
	}
	return a
}

// isFurther reports whether s, which was bound for want, is beside others one more of its addresses.
func isFurther(s openSocket, others []openSocket, want ListenConfig) bool {
	if len(others) == 0 {
		return true
	}
	return isHostName(want.Address) && !slices.ContainsFunc(others, func(other openSocket) bool { return addressOf(other) == addressOf(s) })
}

func (s openSocket) boundFor(want ListenConfig) bool {
	if s.Listener == nil || s.isLost() || s.ReusePort != want.ReusePort {
		return false
	}
	return s.Address == want.Address || s.Origin == FDStore && storedFor(s.Name, want.Address)
}

func assignUnits(wants []ListenConfig, units []openSocket) ([][]openSocket, error) {
	serving := make([][]openSocket, len(wants))
	var problems []error
	for _, s := range units {
		if i, err := s.meantFor(wants); err == nil {
			serving[i] = append(serving[i], s)
		} else {
			problems = append(problems, err)
		}
	}
	for i, want := range wants {
		if len(serving[i]) == 0 {
			problems = append(problems, noSocketFor(want.Name))
		}
	}
	return serving, errors.Join(problems...)
}

// meantFor returns the index of the listener to which a socket of a socket unit belongs.
func (s openSocket) meantFor(wants []ListenConfig) (int, error) {
	if s.Name == "" && len(wants) == 1 {
		return 0, nil
	}
	names := make([]string, len(wants))
	for i, want := range wants {
		if s.Name == want.Name || s.Name == "" && sameAddress(want.Address, s.Address) {
			return i, nil
		}
		names[i] = want.Name
	}
	return 0, noListenerFor(s, names)
}

func noSocketFor(name string) error {
	return fmt.Errorf("systemd passed sockets, but none for listener %q: "+
		"set FileDescriptorName=%s in its .socket unit, or remove the listener", name, name)
}

// noListenerFor returns the error for a socket of a socket unit without a listener; names are those of
// the listeners.
func noListenerFor(s openSocket, names []string) error {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, strconv.Quote(name))
	}
	list := strings.Join(quoted, ", ")
	switch {
	case len(names) == 0:
		return fmt.Errorf("systemd passed the socket %s, but the configuration has no listener: add one, or stop its .socket unit", s.Address)
	case s.Name == "":
		return fmt.Errorf("systemd passed the socket %s without a name, and no listener has its address: "+
			"set FileDescriptorName= in its .socket unit to one of %s", s.Address, list)
	default:
		unit := "its .socket unit"
		if strings.HasSuffix(s.Name, ".socket") { // the name of the unit is the default
			unit = s.Name
		}
		return fmt.Errorf("systemd passed the socket %q (%s), but no listener has that name: "+
			"set FileDescriptorName= in %s to one of %s, or add the listener", s.Name, s.Address, unit, list)
	}
}

// sameAddress reports whether bindSocket(wanted) would make a socket that is bound to bound, or two
// sockets of which this is one.
func sameAddress(wanted, bound string) bool {
	if path, isUnix := strings.CutPrefix(wanted, unixPrefix); isUnix {
		other, isUnix := strings.CutPrefix(bound, unixPrefix)
		return isUnix && filepath.Clean(path) == filepath.Clean(other)
	}
	b, err := netip.ParseAddrPort(bound)
	if err != nil {
		return false
	}
	if port, anywhere := strings.CutPrefix(wanted, ":"); anywhere {
		return b.Addr().IsUnspecified() && bound[strings.LastIndexByte(bound, ':')+1:] == port
	}
	w, err := netip.ParseAddrPort(wanted)
	return err == nil && w == b
}

// samePort reports whether address has the port of bound.
func samePort(bound net.Addr, address string) bool {
	tcp, ok := bound.(*net.TCPAddr)
	_, port, err := net.SplitHostPort(address)
	return ok && err == nil && port == strconv.Itoa(tcp.Port)
}

// isHostName reports whether address has a host name, which may have several addresses.
func isHostName(address string) bool {
	host, _, err := net.SplitHostPort(address)
	_, notIP := netip.ParseAddr(host)
	return err == nil && host != "" && notIP != nil
}
