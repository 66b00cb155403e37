package doctor

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// look returns what /proc shows of a process, or nil if there is none.
func look(pid int) *Process {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil
	}
	p := parseStatus(string(status))
	p.PID = pid
	if groups, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
		p.Group, p.Manager = parseGroups(string(groups))
	}
	if limits, err := os.ReadFile(filepath.Join(dir, "limits")); err == nil {
		p.MaxFiles = parseMaxFiles(string(limits))
	}
	if mounts, err := os.ReadFile(filepath.Join(dir, "mountinfo")); err == nil {
		p.ReadOnlyRoot = parseReadOnlyRoot(string(mounts))
	}
	if environ, err := os.ReadFile(filepath.Join(dir, "environ")); err == nil {
		p.Environ = parseEnviron(environ)
	}
	p.OwnNetwork = ownNamespace(dir, "net")
	p.OwnUsers = ownNamespace(dir, "user")
	return &p
}

// parseStatus reads proc_pid_status(5).
func parseStatus(text string) Process {
	var p Process
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		words := strings.Fields(value)
		if len(words) == 0 {
			continue
		}
		switch key {
		case "Uid":
			p.UID, _ = strconv.Atoi(words[min(1, len(words)-1)]) // the effective one
		case "Gid":
			gid, _ := strconv.Atoi(words[min(1, len(words)-1)])
			p.GIDs = append([]int{gid}, p.GIDs...)
		case "Groups":
			for _, word := range words {
				if gid, err := strconv.Atoi(word); err == nil {
					p.GIDs = append(p.GIDs, gid)
				}
			}
		case "NoNewPrivs":
			p.NoNewPrivs = words[0] == "1"
		case "Seccomp":
			p.Filtered = words[0] == "2"
		case "CapEff":
			p.Capabilities, _ = strconv.ParseUint(words[0], 16, 64)
		}
	}
	return p
}

// parseGroups reads proc_pid_cgroup(5), and returns the last part of the path in the
// hierarchy of systemd, and the user whose manager that belongs to; -1 for the system's.
func parseGroups(text string) (group string, manager int) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 || fields[1] != "" && fields[1] != "name=systemd" {
			continue
		}
		if here := path.Base(fields[2]); here != "/" && here != "." && here != ".." {
			group, manager = here, -1
			if _, user, found := strings.Cut(fields[2], "/user@"); found {
				user, rest, _ := strings.Cut(user, ".service")
				if uid, err := strconv.Atoi(user); err == nil && rest != "" {
					manager = uid
				}
			}
			return group, manager
		}
	}
	return "", -1
}

// parseMaxFiles reads the soft limit out of proc_pid_limits(5).
func parseMaxFiles(text string) uint64 {
	const unlimited = 1 << 63
	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(line, "Max open files")
		if words := strings.Fields(value); found && len(words) > 0 {
			n, err := strconv.ParseUint(words[0], 10, 64)
			if err != nil {
				return unlimited
			}
			return n
		}
	}
	return 0
}

// parseReadOnlyRoot reads proc_pid_mountinfo(5). The last mount on / is the one to see.
func parseReadOnlyRoot(text string) *bool {
	var readOnly *bool
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[4] == "/" {
			options := strings.Split(fields[5], ",")
			readOnly = new(options[0] == "ro")
		}
	}
	return readOnly
}

func parseEnviron(text []byte) map[string]string {
	environ := make(map[string]string)
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		if key, value, found := strings.Cut(string(entry), "="); found {
			environ[key] = value
		}
	}
	return environ
}

// ownNamespace compares a namespace with that of process 1.
func ownNamespace(dir, kind string) *bool {
	ours, err := os.Readlink(filepath.Join(dir, "ns", kind))
	if err != nil {
		return nil
	}
	first, err := os.Readlink(filepath.Join("/proc/1/ns", kind))
	if err != nil {
		return nil
	}
	return new(ours != first)
}
