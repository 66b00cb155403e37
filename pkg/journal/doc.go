// Package journal writes log entries to journald without ever blocking their caller.
//
// [NewHandler] returns an [slog.Handler]; most daemons need nothing else:
//
//	h, err := journal.NewHandler(journal.HandlerOptions{})
//	if err != nil {
//		return err
//	}
//	defer h.Close()
//	slog.SetDefault(slog.New(h))
//
// An entry goes into a bounded queue, and one goroutine, a [Writer], writes it. An
// entry that finds the queue full is dropped and counted. So a journald that is
// stopped, overloaded or restarted costs the caller nothing, and what is stored and
// what is counted as dropped add up to what was logged.
//
// A Writer works for entries of any type and for outputs of any form, and can change its
// output while it runs. It needs Linux, as do [Socket] and [Stream].
package journal
