package soak

import "syscall"

// childAttr gives a process a group of its own, and lets it die with the thread that has started it, however that ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
