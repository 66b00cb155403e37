//go:build !linux

package main

// greetd needs systemd, journald and epoll. greetprobe builds here: go build ./cmd/greetprobe
var _ = greetd_is_for_Linux_only //nolint:revive // the compiler's error is the message
