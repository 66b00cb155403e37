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
// An entry is put into a bounded queue, and one goroutine, a [Writer], writes it. If the queue is
// full, the entry is dropped and counted. So the caller never waits for a journald that is stopped,
// overloaded or restarted, and every entry is either stored or counted as dropped.
//
// A Writer can have entries of any type and outputs of any format, and can change its output while
// it runs. Writer, [Socket] and [Stream] need Linux.
package journal
