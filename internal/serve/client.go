//go:build linux && (amd64 || arm64)

package serve

import (
	"fmt"
	"io"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
)

// Join has the server at a socket answer this process's own bpf(2) calls, and
// those of its children, from now on: nothing takes that back. With unprivileged
// they are taken to have no capabilities. What happens to the server is told on errw.
func Join(machine string, unprivileged bool, errw io.Writer) error {
	o := Options{Machine: machine, Caps: bpfsys.AllCaps, Stderr: errw}
	if unprivileged {
		o.Caps = 0
	}
	begin, end, err := o.join()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // no_new_privs and the filter are set by one thread, for all
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		end()
		return fmt.Errorf("no_new_privs: %w", err)
	}
	listener, err := install(tsync | tsyncESRCH)
	if err != nil {
		end()
		return err
	}
	if err := begin(listener); err != nil {
		end()
		return err
	}
	return nil
}

// install puts the filter in place and returns its listener.
func install(flags uintptr) (int, error) {
	prog := filter()
	fp := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, e := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, newListener|waitKillable|flags, uintptr(unsafe.Pointer(&fp)))
	switch {
	case e == unix.EBUSY:
		return -1, ErrNested
	case e != 0:
		return -1, fmt.Errorf("seccomp filter: %w (Linux 5.19 and later is needed)", e)
	}
	return int(fd), nil
}
