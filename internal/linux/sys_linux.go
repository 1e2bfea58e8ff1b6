//go:build linux && (amd64 || arm64)

package linux

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/errno"
)

// bpf calls bpf(2). attr points to a struct laid out like the command's part of
// union bpf_attr; its pointers are unsafe.Pointer fields, so that the collector
// and a moving stack keep them right until the call returns.
func bpf(cmd command, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, e := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
	if e != 0 {
		return -1, &Error{Command: commandNames[cmd], Errno: errno.Errno(e)}
	}
	return int(r), nil
}

// undisturbed calls f with all signals of its thread held back. PROG_LOAD and
// repeated test runs give up with EAGAIN or EINTR when a signal is pending, and
// the Go runtime sends them all the time.
func undisturbed(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	return f()
}

func closeFD(fd int) error { return unix.Close(fd) }

// Booted returns when the system was started, by the wall clock of now.
func Booted() (time.Time, error) {
	var real, boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &real); err != nil {
		return time.Time{}, err
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return time.Time{}, err
	}
	return time.Unix(real.Unix()).Add(-time.Duration(boot.Nano())), nil
}
