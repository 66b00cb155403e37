package service

import "syscall"

// errNoNetwork is an error of accept(2) that other systems do not have.
const errNoNetwork = syscall.ENONET
