// Package wallclock moves the wall clock of a process, and of no other, for tests: no
// namespace has a wall clock of its own, and that of a machine is everybody's. It stops
// the process at each system call (ptrace(2)), and adds to what the kernel answers for
// CLOCK_REALTIME. CLOCK_MONOTONIC goes on as it is, as it does when a clock is set.
package wallclock

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Main is a program: wallclock PID. The process is a shell that is about to execute the
// program whose clock to move. Main says "ready" when that may happen. Then it reads
// durations from standard input, one a line: each is by how much the clock is ahead from
// now on. It ends with the process; the process ends with it.
func Main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "wallclock:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: wallclock PID")
	}
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	t := tracer{asking: make(map[int]uintptr)}
	go func() { // ends with the program
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			ahead, err := time.ParseDuration(in.Text())
			if err != nil {
				fmt.Fprintln(os.Stderr, "wallclock:", err)
				os.Exit(1)
			}
			t.ahead.Store(int64(ahead))
			fmt.Println("moved")
		}
	}()
	return t.trace(pid)
}

type tracer struct {
	ahead  atomic.Int64    // nanoseconds
	asking map[int]uintptr // by thread: where it wants the wall clock's time
}

// trace returns when the process and all that it has started are gone.
func (t *tracer) trace(pid int) error {
	runtime.LockOSThread() // only this thread may ask about the process
	defer runtime.UnlockOSThread()

	const options = unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, options, 0, 0); errno != 0 {
		return fmt.Errorf("trace process %d: %w", pid, errno)
	}
	fmt.Println("ready")
	for {
		var status unix.WaitStatus
		thread, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return err
		case !status.Stopped():
			delete(t.asking, thread)
			continue
		}
		if err := t.stopped(thread, status); err != nil && !errors.Is(err, unix.ESRCH) { // killed meanwhile
			return fmt.Errorf("thread %d: %w", thread, err)
		}
	}
}

// stopped does what is to be done with a thread that has stopped, and lets it go on.
func (t *tracer) stopped(thread int, status unix.WaitStatus) error {
	const syscallStop = unix.SIGTRAP | 0x80 // PTRACE_O_TRACESYSGOOD
	signal, event := status.StopSignal(), int(status)>>16
	switch {
	case signal == syscallStop:
		if err := t.answer(thread); err != nil {
			return err
		}
		signal = 0
	case event == unix.PTRACE_EVENT_EXEC:
		if err := hideVDSO(thread); err != nil {
			return err
		}
		signal = 0
	case event != 0:
		signal = 0 // a new thread, or the end of a stop
	}
	return unix.PtraceSyscall(thread, int(signal))
}

// answer corrects what the kernel has answered, at the end of a call for the wall clock.
func (t *tracer) answer(thread int) error {
	info, err := ask(thread)
	if err != nil {
		return err
	}
	switch info.op {
	case unix.PTRACE_SYSCALL_INFO_ENTRY:
		delete(t.asking, thread)
		if number, clock, where := info.words[0], info.words[1], info.words[2]; number == unix.SYS_CLOCK_GETTIME && clock == unix.CLOCK_REALTIME {
			t.asking[thread] = uintptr(where)
		}
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		where, ok := t.asking[thread]
		if !ok {
			return nil
		}
		delete(t.asking, thread)
		var answer [16]byte // a timespec: seconds and nanoseconds
		if _, err := unix.PtracePeekData(thread, where, answer[:]); err != nil {
			return err
		}
		seconds, nanoseconds := binary.NativeEndian.Uint64(answer[:8]), binary.NativeEndian.Uint64(answer[8:])
		moved := time.Unix(int64(seconds), int64(nanoseconds)).Add(time.Duration(t.ahead.Load()))
		binary.NativeEndian.PutUint64(answer[:8], uint64(moved.Unix()))
		binary.NativeEndian.PutUint64(answer[8:], uint64(moved.Nanosecond()))
		_, err := unix.PtracePokeData(thread, where, answer[:])
		return err
	}
	return nil
}

// syscallInfo is struct ptrace_syscall_info.
type syscallInfo struct {
	op           uint8
	_            [3]uint8
	_            uint32
	_            uint64
	stackPointer uint64
	words        [7]uint64 // at the entry of a call its number and its arguments
}

func ask(thread int) (info syscallInfo, err error) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		err = errno
	}
	return info, err
}

// hideVDSO takes away, from a program that begins, what would let it read the clock
// without a system call: the entry for it in the auxiliary vector, which is on the stack
// after the arguments and the environment (getauxval(3)).
func hideVDSO(thread int) error {
	info, err := ask(thread)
	if err != nil {
		return err
	}
	where := uintptr(info.stackPointer)
	next := func() (uint64, error) {
		var word [8]byte
		_, err := unix.PtracePeekData(thread, where, word[:])
		where += 8
		return binary.NativeEndian.Uint64(word[:]), err
	}
	const nothing, vdso, ignore = 0, 33, 1 // AT_NULL, AT_SYSINFO_EHDR, AT_IGNORE
	if _, err := next(); err != nil {      // the number of arguments
		return err
	}
	for range 2 { // the arguments, and the environment
		for word := uint64(1); word != 0; {
			if word, err = next(); err != nil {
				return err
			}
		}
	}
	for {
		kind, err := next()
		if err != nil || kind == nothing {
			return err
		}
		if kind == vdso {
			var word [8]byte
			binary.NativeEndian.PutUint64(word[:], ignore)
			if _, err := unix.PtracePokeData(thread, where-8, word[:]); err != nil {
				return err
			}
		}
		where += 8
	}
}
