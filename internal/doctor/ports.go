package doctor

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"greetd.example/internal/config"
)

const tcpListen = 10 // TCP_LISTEN of the kernel

// A diagRequest is struct inet_diag_req_v2 of sock_diag(7), with an empty inet_diag_sockid.
type diagRequest struct {
	Family, Protocol, Extensions, _ uint8
	States                          uint32
	_                               [48]byte
}

// A diagMessage is struct inet_diag_msg of sock_diag(7).
type diagMessage struct {
	Family, State, _, _           uint8
	SourcePort, _                 [2]byte
	Source, _                     [16]byte
	_                             uint32 // interface
	_                             [2]uint32
	_, _, WriteQueue, User, Inode uint32
}

// A diagSocket is a Socket with its inode, by which the processes that have it are found in /proc.
type diagSocket struct {
	Socket
	inode uint32
}

// listening returns the listening TCP sockets in this network namespace, from sock_diag(7). /proc/net/tcp does
// not have the maximum of the backlog.
func listening() ([]diagSocket, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, err
	}
	all := []diagSocket{}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		request, err := binary.Append(nil, binary.NativeEndian, diagRequest{Family: family, Protocol: unix.IPPROTO_TCP, States: 1 << tcpListen})
		if err != nil {
			return nil, err
		}
		messages, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
			Data:   request,
		})
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if s, ok := parseDiag(m.Data); ok {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

func parseDiag(data []byte) (diagSocket, bool) {
	var m diagMessage
	if _, err := binary.Decode(data, binary.NativeEndian, &m); err != nil || m.State != tcpListen {
		return diagSocket{}, false
	}
	ip := netip.AddrFrom16(m.Source)
	if m.Family == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(m.Source[:4]))
	}
	address := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(m.SourcePort[:]))
	return diagSocket{Socket{Address: address, Backlog: int(m.WriteQueue)}, m.Inode}, true // of a listener, it is the maximum of the backlog
}

// lookAtPorts sets Listening. If greetd does not run, it also finds the processes that hold the addresses that
// greetd needs.
func (f *Facts) lookAtPorts(ctx context.Context, systemd *manager) {
	sockets, err := listening()
	if err != nil {
		f.unseen("the sockets of this machine (%v)", err)
		return
	}
	f.Listening = []Socket{}
	holders := sync.OnceValue(findHolders)
	var stored []uint32 // for a unit that is down
	if systemd != nil && f.Unit.down() && f.Unit.NFileDescriptorStore > 0 {
		stored, _ = storedInodes(ctx, f.Unit.Name)
	}
	for _, s := range sockets {
		if slices.Contains(stored, s.inode) {
			s.PID, s.Unit = 1, f.Unit.Name
		} else if f.Root && slices.ContainsFunc(f.needed(), func(l config.Listener) bool { return overlap(l.Address, s.Address) }) {
			if proc, found := holders()[fmt.Sprintf("socket:[%d]", s.inode)]; found {
				s.PID = proc.PID
				s.Program, _ = proc.Comm()
			}
			switch {
			case systemd == nil || s.PID == 0:
			case s.PID == 1:
				s.Unit = systemd.unitOf(ctx, s)
			default:
				s.Unit, _ = systemd.GetUnitNameByPID(ctx, uint32(s.PID))
			}
		}
		f.Listening = append(f.Listening, s.Socket)
	}
}

// findHolders returns a process for each open file, by the name of the file in /proc, such as "socket:[INODE]". If
// several processes have it, the result is the one with the lowest PID, usually the parent of the others, or
// systemd.
func findHolders() map[string]procfs.Proc {
	holders := make(map[string]procfs.Proc)
	procs, _ := procfs.AllProcs()
	slices.SortFunc(procs, func(a, b procfs.Proc) int { return b.PID - a.PID })
	for _, proc := range procs {
		targets, _ := proc.FileDescriptorTargets()
		for _, target := range targets {
			holders[target] = proc
		}
	}
	return holders
}
