package service

import "sync/atomic"

// workers are the goroutines that serve the visits of one listener: each serves one visit at a time. When a
// visit ends, its goroutine waits for the next one, unless another one waits already. A new goroutine has a
// small stack, which every visit would have to enlarge; this takes longer than to start the goroutine. The visit
// of a client that is not slow ends before the next one begins, so it is enough if one goroutine waits.
// Only the accept loop may call start and stop.
type workers struct {
	next    chan *visit // closed by stop
	waiting atomic.Bool // whether a goroutine waits for next
}

func newWorkers() workers { return workers{next: make(chan *visit)} }

func (w *workers) start(v *visit) {
	select {
	case w.next <- v:
	default:
		go w.work(v) // Shutdown waits for the visit
	}
}

// stop makes the goroutine that waits end, and each other one after its visit.
func (w *workers) stop() { close(w.next) }

// work serves v, and then the visits that it gets. It ends early if a Greeter ends its goroutine.
func (w *workers) work(v *visit) {
	for v != nil {
		v.run()
		v = w.wait()
	}
}

// wait returns the next visit, or nil if this goroutine is to end.
func (w *workers) wait() *visit {
	if !w.waiting.CompareAndSwap(false, true) {
		return nil
	}
	defer w.waiting.Store(false)
	return <-w.next
}
