package systemd

import "fmt"

// Listen returns the listener with this name. It uses the socket that a socket unit passed under
// this name, else the socket that the fd store kept for address, else it binds a new socket, which
// systemd keeps from then on. See ListenConfig for the form of address.
//
// If a socket unit passed any socket, Listen never binds: a name without a socket is then an error.
// A socket without a FileDescriptorName= belongs to the listener that has its address, or to this
// listener if it is the only socket. If several sockets have this name, for example one for IPv4
// and one for IPv6, Listen returns an error: use ListenAll. If address has a host name with several
// addresses, Listen uses the first.
func (s *Service) Listen(name, address string) (*Listener, error) {
	return s.ListenWith(ListenConfig{Name: name, Address: address})
}

// ListenWith is like Listen, with all settings of a ListenConfig.
func (s *Service) ListenWith(config ListenConfig) (*Listener, error) {
	all, err := s.listen(config, true)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ListenAll is like ListenWith, for a name under which a socket unit may pass several sockets, and
// for host names with several addresses. It returns one listener for each socket, and at least one.
func (s *Service) ListenAll(config ListenConfig) ([]*Listener, error) {
	return s.listen(config, false)
}

func (s *Service) listen(config ListenConfig, one bool) ([]*Listener, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.wrapPassed(); err != nil {
		return nil, err
	}
	taken, err := s.claim(config)
	switch {
	case err != nil:
		return nil, err
	case one && len(taken) > 1 && !taken[0].isOwn():
		return nil, fmt.Errorf("systemd passed %d sockets named %q: leave one ListenStream= in the .socket unit "+
			"(with BindIPv6Only=both it serves IPv4 and IPv6), or use ListenAll", len(taken), config.Name)
	}
	c := &Change{service: s, serving: [][]openSocket{taken}}
	for _, old := range s.passed { // closed if they hold the port with another address (:80 before 127.0.0.1:80)
		if old.Listener != nil && samePort(old.Addr(), config.Address) {
			c.obsolete = append(c.obsolete, old)
		}
	}
	if err := c.provide(s.ctx, 0, config); err != nil {
		return nil, &BindError{Name: config.Name, Err: err}
	}
	taken = c.serving[0]
	if one { // the first address of a host name
		for _, further := range taken[1:] {
			s.passed = without(s.passed, further)
			s.discard(further) // before the first is stored, under the same name
		}
		taken = taken[:1]
	}
	var listeners []*Listener
	for _, socket := range taken {
		s.passed = without(s.passed, socket)
		if socket.isOwn() {
			socket.deferAccept(config.DeferAccept)
		}
		listeners = append(listeners, s.add(config.Name, socket))
	}
	return listeners, nil
}

// claim returns the passed sockets that belong to config.
func (s *Service) claim(config ListenConfig) ([]openSocket, error) {
	if !s.units {
		return assignOurs([]ListenConfig{config}, s.passed).Serving[0], nil
	}
	var named, unnamed []openSocket
	for _, socket := range s.passed {
		switch {
		case socket.Origin != SocketUnit:
		case socket.Name == config.Name, socket.Name == "" && sameAddress(config.Address, socket.Address):
			named = append(named, socket)
		case socket.Name == "":
			unnamed = append(unnamed, socket)
		}
	}
	if len(named) == 0 && len(unnamed) == 1 {
		return unnamed, nil
	}
	if len(named) == 0 {
		return nil, noSocketFor(config.Name)
	}
	return named, nil
}
