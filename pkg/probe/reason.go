package probe

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"syscall"
)

// reason removes from an error the parts that repeat the target, such as its address.
func reason(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dnsReason(dns)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

func dnsReason(err *net.DNSError) error {
	text := ephemeral.ReplaceAllString(err.Err, "")
	if err.IsTimeout {
		text = "no answer"
	}
	if err.Server == "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s (asked %s)", text, err.Server)
}

// ephemeral matches the text that the package net puts before the reason of a DNS error. The text can have a local
// port, so that the same error would never have the same text twice. The error has no field with the reason alone.
var ephemeral = regexp.MustCompile(`(dial|read|write) (udp|tcp)[46]? \S+(->\S+)?: ((connect|read|recvfrom|recvmsg|write|sendto): )?`)
