//go:build !linux

package service

import "syscall"

const errNoNetwork = syscall.ENETDOWN
