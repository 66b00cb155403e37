package systemd

import (
	"context"

	"greetd.example/pkg/service"
)

// What greetd called before there was a Service. It goes when greetd goes through that.

// Want is ListenConfig.
type Want = ListenConfig

// Inherit is what Start takes over.
func Inherit() ([]Socket, error) {
	all, err := inheritAll()
	for i, s := range all.sockets {
		if s.Listener != nil {
			all.sockets[i].Listener = service.Direct(s.Listener)
		}
	}
	return all.sockets, err
}

// Bind is BindWith.
func Bind(ctx context.Context, address string, reusePort bool) (Socket, error) {
	s, err := BindWith(ctx, ListenConfig{Address: address, ReusePort: reusePort})
	if err == nil {
		s.Listener = service.Direct(s.Listener)
	}
	return s, err
}

// Store is store.
func (n *Notifier) Store(s Socket) error { return n.store(s) }

// Forget is forget.
func (n *Notifier) Forget(s Socket) error { return n.forget(s) }
