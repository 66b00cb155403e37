// Hostile stands in for a greetd that an attacker has taken over: as the program of its unit, it
// tries whatever would help one, and prints a line for each attempt.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// child is the argument of a copy that was executed, and has nothing more to do.
const child = "executed"

// nobody is a process that is not there.
const nobody = 1<<22 - 1

func main() {
	if len(os.Args) > 1 && os.Args[1] == child {
		return
	}
	// An end of the program would keep systemd from calling the unit started.
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		if c, err := net.Dial("unixgram", socket); err == nil {
			_, _ = io.WriteString(c, "READY=1")
		}
	}
	for _, a := range attempts() {
		if err := a.try(); err != nil {
			fmt.Printf("denied\t%s\t%q\n", a.what, err)
		} else {
			fmt.Printf("succeeded\t%s\n", a.what)
		}
	}
	fmt.Println("finished")
	if os.Getenv("NOTIFY_SOCKET") != "" {
		select {} // until the unit is stopped
	}
}

// An attempt fails with an error if it is denied.
type attempt struct {
	what string
	try  func() error
}

func attempts() (all []attempt) {
	add := func(what string, try func() error) { all = append(all, attempt{what, try}) }
	call := func(what string, number uintptr, arguments ...uintptr) {
		add(what, func() error { return syscallError(number, arguments...) })
	}

	add("execute itself", func() error { return executeSelf(0) })
	add("execute /bin/sh", func() error { return execute(exec.Command("/bin/sh", "-c", "exit 0")) })
	add("execute the loader", executeLoader)
	for _, directory := range writable() {
		add("write and execute in "+directory, func() error { return writeAndExecute(directory) })
	}
	add("execute from memory", executeFromMemory)
	add("map memory to write and execute", func() error { return mapMemory(unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC) })
	add("make memory executable", makeExecutable)
	call("shmget", unix.SYS_SHMGET, 0, 4096, unix.IPC_CREAT|0o600)
	call("msgget", unix.SYS_MSGGET, 0, unix.IPC_CREAT|0o600)

	add("io_uring_setup", func() error {
		var parameters [256]byte
		return syscallError(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)))
	})
	add("io_setup", func() error {
		var context uintptr
		return syscallError(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&context)))
	})
	call("userfaultfd", unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) // faults of its own alone: needs no privilege
	add("keyctl", func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_PROCESS_KEYRING, true); return err })
	add("add_key", func() error {
		_, err := unix.AddKey("user", "greetd", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	})
	add("ptrace", func() error { return ignore(syscallError(unix.SYS_PTRACE, unix.PTRACE_ATTACH, nobody), unix.ESRCH) })
	call("process_vm_readv", unix.SYS_PROCESS_VM_READV, uintptr(os.Getpid()))
	add("bpf", func() error { return ignore(syscallError(unix.SYS_BPF, 0xffff), unix.EINVAL) })
	add("perf_event_open", func() error { return ignore(syscallError(unix.SYS_PERF_EVENT_OPEN), unix.EFAULT) })
	call("personality", unix.SYS_PERSONALITY, 0x0040000) // ADDR_NO_RANDOMIZE
	add("sched_setscheduler", func() error {
		var priority int32
		return syscallError(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_BATCH, uintptr(unsafe.Pointer(&priority)))
	})
	add("setuid", func() error { return errors.Join(syscallError(unix.SYS_SETUID, 0), syscallError(unix.SYS_SETGID, 0)) })
	add("chroot", func() error { return unix.Chroot("/") })
	add("mount", func() error { return unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "") })
	add("a user namespace", func() error { return executeSelf(unix.CLONE_NEWUSER) })
	add("a network namespace", func() error { return executeSelf(unix.CLONE_NEWNET) })
	add("unshare", inThread(func() error { return unix.Unshare(unix.CLONE_NEWNS) }))
	add("sethostname", func() error { return unix.Sethostname([]byte("hostile")) })
	add("a device node", func() error { return unix.Mknod(filepath.Join(os.TempDir(), "null"), unix.S_IFCHR|0o666, 0x103) })
	add("a set-user-id file", setUserID)

	add("a raw socket", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))
	add("a packet socket", socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0))
	add("a netlink socket", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE))
	add("a socket of virtual machines", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0))
	add("listen on port 80", func() error { return closed(net.Listen("tcp", "127.0.0.1:80")) })
	add("call systemd over D-Bus", callSystemd)
	for _, path := range sockets() {
		add("connect to "+path, func() error { return connect(path) })
	}

	add("signal process 1", func() error { return unix.Kill(1, 0) })
	for _, file := range []string{"/etc/shadow", "/proc/1/environ", "/var/lib/secret", "/srv/secret", "/opt/secret", "/home/user/secret", "/root/secret"} {
		add("read "+file, func() error { return closed(os.Open(file)) })
	}
	for _, file := range []string{"/etc/passwd", "/etc/greetd/greetd.yaml", "/usr/bin/env", "/proc/sys/kernel/core_pattern", "/sys/fs/cgroup/cgroup.procs"} {
		add("open to write "+file, func() error { return closed(os.OpenFile(file, os.O_WRONLY, 0)) })
	}
	for _, directory := range []string{"/etc", "/usr/bin", "/var", "/run", "/run/systemd/system", "/root"} {
		add("a file in "+directory, func() error { return closed(os.CreateTemp(directory, "hostile")) })
	}
	return all
}

func syscallError(number uintptr, arguments ...uintptr) error {
	var a [6]uintptr
	copy(a[:], arguments)
	if _, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// ignore returns nil for an errno that only a call that was not denied has.
func ignore(err error, errno unix.Errno) error {
	if errors.Is(err, errno) {
		return nil
	}
	return err
}

func socket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, protocol)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

func closed(c io.Closer, err error) error {
	if err != nil {
		return err
	}
	return c.Close()
}

// inThread calls do in a thread of its own, which ends.
func inThread(do func() error) func() error {
	return func() error {
		result := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocks it
			result <- do()
		}()
		return <-result
	}
}

// execute starts a program, and succeeds whatever becomes of it: waiting may be denied.
func execute(command *exec.Cmd) error {
	if err := command.Start(); err != nil {
		return err
	}
	_ = command.Wait()
	return nil
}

// executeSelf executes this program again, in the namespaces of flags.
func executeSelf(flags uintptr) error {
	self := exec.Command("/proc/self/exe", child)
	self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return execute(self)
}

// executeLoader has the loader of shared libraries execute a program that it only reads.
func executeLoader() error {
	loaders, _ := filepath.Glob("/lib*/ld-linux*")
	if len(loaders) == 0 {
		return fs.ErrNotExist
	}
	return execute(exec.Command(loaders[0], "/bin/true"))
}

// writable are the directories in which this process can make files.
func writable() (all []string) {
	_ = filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir
		case path == "/proc", path == "/sys":
			return fs.SkipDir
		case entry.IsDir() && unix.Access(path, unix.W_OK) == nil:
			all = append(all, path)
			if strings.Count(path, "/") > 2 {
				return fs.SkipDir
			}
		}
		return nil
	})
	return all
}

func writeAndExecute(directory string) error {
	path := filepath.Join(directory, "hostile-copy")
	defer os.Remove(path)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, self, 0o755); err != nil {
		return err
	}
	return execute(exec.Command(path, child))
}

func executeFromMemory() error {
	fd, err := unix.MemfdCreate("hostile", 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "hostile")
	defer file.Close()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if _, err := file.Write(self); err != nil {
		return err
	}
	return execute(exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), child))
}

func mapMemory(protection int) error {
	memory, err := unix.Mmap(-1, 0, 4096, protection, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return unix.Munmap(memory)
}

func makeExecutable() error {
	memory, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC)
}

func setUserID() error {
	path := filepath.Join(os.TempDir(), "hostile-suid")
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		return err
	}
	return unix.Chmod(path, 0o4755)
}

// callSystemd asks something that everybody on the system bus may.
func callSystemd() error {
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		return err
	}
	defer bus.Close()
	_, err = bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").GetProperty("org.freedesktop.systemd1.Manager.Version")
	return err
}

// sockets are the sockets in the file system.
func sockets() (all []string) {
	_ = filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || path == "/proc" || path == "/sys":
			return fs.SkipDir
		case entry.Type() == fs.ModeSocket:
			all = append(all, path)
		}
		return nil
	})
	return all
}

func connect(path string) error {
	var errs []error
	for _, network := range []string{"unix", "unixgram", "unixpacket"} {
		c, err := net.DialTimeout(network, path, time.Second)
		if err == nil {
			return c.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
