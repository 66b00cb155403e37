package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

const (
	firstFD   = 3       // SD_LISTEN_FDS_START of sd_listen_fds(3)
	maxPassed = 1 << 20 // fs.nr_open: no process has more descriptors

	pidfsMagic = 0x50494446 // PID_FS_MAGIC of the kernel
)

// inheritAll takes over the descriptors that systemd passed (sd_listen_fds(3)), those of socket units and
// those from the fd store. It clears the environment variables about them, so that child processes do
// not use them. Call it before any other code opens descriptors.
//
// Every descriptor is checked: one that is not a listening stream socket, TCP or unix, is an error, and
// so are a wrong count, a wrong process and wrong names. The error has all of these, each in one
// sentence with its remedy; then no socket is returned. A stored socket that does not listen any more
// is not an error: it is returned with a nil Listener, and assign makes it obsolete.
//
// The descriptors are close-on-exec, the sockets nonblocking.
func inheritAll() (sockets []openSocket, files []*os.File, err error) {
	defer func() {
		for _, key := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			_ = os.Unsetenv(key)
		}
	}()
	count, err := passed()
	if count == 0 || err != nil {
		return nil, nil, err
	}
	names, err := passedNames(count)
	if err != nil {
		return nil, nil, err
	}
	if err := account(count, names); err != nil {
		return nil, nil, err
	}
	for i, file := range activation.Files(true) {
		if strings.HasPrefix(names[i], filePrefix) {
			files = append(files, file)
			continue
		}
		if unfitSocket(firstFD+i) != "" { // not an error, since it is from the fd store
			_ = file.Close()
			sockets = append(sockets, openSocket{Origin: FDStore, Name: names[i]})
			continue
		}
		s, err := inherit(file, names[i])
		_ = file.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("take over descriptor %d: %w", firstFD+i, err)
		}
		sockets = append(sockets, s)
	}
	return sockets, files, nil
}

// passed returns the number of descriptors that were passed to this process.
func passed() (int, error) {
	fds, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	if fds == "" || fds == "0" {
		return 0, nil
	}
	count, err := strconv.Atoi(fds)
	if err != nil || count < 0 || count > maxPassed {
		return 0, fmt.Errorf("LISTEN_FDS=%q is not a number of descriptors: unset it, or let systemd set it", fds)
	}
	if pid == "" {
		return 0, fmt.Errorf("LISTEN_FDS=%d, but LISTEN_PID is not set: unset both, or let systemd set them", count)
	}
	process, err := strconv.Atoi(pid)
	if err != nil {
		return 0, fmt.Errorf("LISTEN_PID=%q is not a process: unset it, or let systemd set it", pid)
	}
	if process != os.Getpid() {
		return 0, fmt.Errorf("the sockets are for process %d (LISTEN_PID), and this is %d: "+
			"start the daemon directly in ExecStart= or by exec, not as a child of a script", process, os.Getpid())
	}
	return count, checkPIDFD()
}

// checkPIDFD compares LISTEN_PIDFDID (systemd 258) with the inode number of a pidfd of this process.
// Unlike a PID, this number is never reused. On kernels without such numbers (before 6.9) it checks
// nothing, and LISTEN_PID must be enough, as in sd_listen_fds(3).
func checkPIDFD() error {
	text := os.Getenv("LISTEN_PIDFDID")
	if text == "" {
		return nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("LISTEN_PIDFDID=%q is not the number of a pidfd: unset it, or let systemd set it", text)
	}
	if own, ok := ownPIDFD(); ok && own != id {
		return fmt.Errorf("the sockets are for another process with the number %d (LISTEN_PIDFDID=%d, and this is %d): "+
			"start the daemon directly in ExecStart= or by exec, not as a child of a script", os.Getpid(), id, own)
	}
	return nil
}

func ownPIDFD() (id uint64, ok bool) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var system unix.Statfs_t
	var stat unix.Stat_t
	if unix.Fstatfs(fd, &system) != nil || int64(system.Type) != pidfsMagic || unix.Fstat(fd, &stat) != nil { //nolint:unconvert // 32 bits on some
		return 0, false
	}
	return stat.Ino, true
}

// passedNames returns a name for each of count descriptors; "" if it has none.
func passedNames(count int) ([]string, error) {
	list, ok := os.LookupEnv("LISTEN_FDNAMES")
	if !ok {
		return make([]string, count), nil
	}
	names := strings.Split(list, ":")
	if len(names) != count {
		return nil, fmt.Errorf("LISTEN_FDS=%d, but LISTEN_FDNAMES has %d names: %q", count, len(names), list)
	}
	return names, nil
}

// account returns an error that lists every descriptor that cannot be served, and those that are missing
// or too many.
func account(count int, names []string) error {
	var problems []error
	for i, name := range names {
		fd := firstFD + i
		reason := unfit(fd)
		if reason == notPassed {
			problems = append(problems, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d was not passed", count, fd))
			break // the rest is missing, too; descriptors with these numbers may belong to the runtime
		}
		if reason != "" && !strings.HasPrefix(name, storePrefix) {
			problems = append(problems, fmt.Errorf("systemd passed descriptor %d (%s), %s", fd, quotedName(name), reason))
		}
	}
	if len(problems) == 0 && unfit(firstFD+count) == "" {
		problems = append(problems, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d is a listening socket too: "+
			"what starts the daemon must count it or close it", count, firstFD+count))
	}
	return errors.Join(problems...)
}

func quotedName(name string) string {
	if name == "" {
		return "without a name"
	}
	return strconv.Quote(name)
}

const notPassed = "not passed"

// unfit returns what fd is, and the remedy, if it is not a listening stream socket; else "".
func unfit(fd int) string {
	// A descriptor that is closed on exec cannot have been passed: the runtime has opened it.
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		return notPassed
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return notPassed
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return unfitSocket(fd)
	case unix.S_IFIFO:
		return "a FIFO: use ListenStream= in its socket unit, not ListenFIFO="
	}
	return "a file: use ListenStream= in its socket unit"
}

func unfitSocket(fd int) string {
	family, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	listening, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)

	switch family {
	case unix.AF_INET, unix.AF_INET6, unix.AF_UNIX:
	case unix.AF_VSOCK:
		return "a vsock socket: only TCP and unix sockets are served; use another ListenStream= in its socket unit"
	default:
		return fmt.Sprintf("a socket of address family %d: only TCP and unix sockets are served; use ListenStream= in its socket unit", family)
	}
	switch kind {
	case unix.SOCK_STREAM:
	case unix.SOCK_DGRAM:
		return "a datagram socket: use ListenStream= in its socket unit, not ListenDatagram="
	case unix.SOCK_SEQPACKET:
		return "a socket of packets: use ListenStream= in its socket unit, not ListenSequentialPacket="
	default:
		return fmt.Sprintf("a socket of type %d: use ListenStream= in its socket unit", kind)
	}
	switch protocol {
	case 0, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP:
	default:
		return fmt.Sprintf("a socket of protocol %d: remove SocketProtocol= from its socket unit", protocol)
	}
	if listening != 0 {
		return ""
	}
	if _, err := unix.Getpeername(fd); err == nil {
		return "a connection: set Accept=no in its socket unit"
	}
	return "a socket that does not listen: what starts the daemon must call listen(2) on it"
}

// inherit makes an openSocket from file, which still belongs to the caller.
func inherit(file *os.File, name string) (openSocket, error) {
	ln, err := net.FileListener(file)
	if err != nil {
		return openSocket{}, err
	}
	s := openSocket{Listener: ln, Origin: SocketUnit, Name: ownName(name), Address: addressOf(ln)}
	err = control(ln, func(fd int) error {
		on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
		s.ReusePort = on != 0
		return err
	})
	if err != nil {
		return openSocket{}, err
	}
	if !strings.HasPrefix(name, storePrefix) {
		return s, nil
	}
	s.Origin, s.Name = FDStore, name
	address, id := parseStoreName(name)
	s.Address = address
	if path, isUnix := unixPath(ln); isUnix && !isAbstract(path) {
		s.file = &socketFile{fileID: id}
		s.file.stored.Store(true)
	}
	return s, nil
}

// ownName returns the name that an operator gave to a socket, or "" if it is one that systemd uses by
// default: see LISTEN_FDNAMES in sd_listen_fds(3) and FileDescriptorName= in systemd.socket(5).
func ownName(name string) string {
	if name == "unknown" || name == "stored" || strings.HasSuffix(name, ".socket") {
		return ""
	}
	return name
}
