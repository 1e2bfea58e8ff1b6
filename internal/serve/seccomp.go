//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notif is struct seccomp_notif, resp seccomp_notif_resp, addfd seccomp_notif_addfd.
type (
	notif struct {
		ID         uint64
		PID, Flags uint32
		Nr         int32
		Arch       uint32
		IP         uint64
		Args       [6]uint64
	}
	resp struct {
		ID    uint64
		Val   int64
		Error int32
		Flags uint32
	}
	addfd struct {
		ID                          uint64
		Flags, Src, NewFD, NewFlags uint32
	}
)

// Requests and flags of linux/seccomp.h.
const (
	ioRecv     = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioSend     = 0xc0182101
	ioAddFD    = 0x40182103
	ioSetFlags = 0x40082104

	flagContinue = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	syncWakeUp   = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP

	retAllow = 0x7fff0000
	retNotif = 0x7fc00000

	tsync         = 1 << 0 // all threads get the filter
	tsyncESRCH    = 1 << 4 // … and ESRCH is told, not the number of a thread that cannot have it
	newListener   = 1 << 3
	waitKillable  = 1 << 5 // without it signals make calls happen twice
	setModeFilter = 1
	getNotifSizes = 3
)

// filter is the program that picks system calls: those of watched go to the
// session, the others to the kernel.
//
//	is this the native architecture? else notify of its bpf(2) and allow the others
//	number == w? → its condition, if it has one → notify
//	…
//	allow
func filter() []unix.SockFilter {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K

		nrAt, archAt, argsAt = 0, 4, 16
	)
	prog := []unix.SockFilter{
		{Code: load, K: archAt}, {Code: jeq, Jt: 5, K: auditArch},
		{Code: jeq, Jf: 3, K: compatArch}, {Code: load, K: nrAt}, {Code: jeq, Jf: 1, K: compatBPF}, {Code: ret, K: retNotif},
		{Code: ret, K: retAllow},
		{Code: load, K: nrAt},
	}
	for _, w := range watched {
		if w.on == nil {
			prog = append(prog, unix.SockFilter{Code: jeq, Jf: 1, K: w.nr}, unix.SockFilter{Code: ret, K: retNotif})
			continue
		}
		// Arguments are read as their low words: those asked about are ints.
		prog = append(prog, unix.SockFilter{Code: jeq, Jf: uint8(2*len(w.on) + 2), K: w.nr})
		for i, c := range w.on {
			test := uint16(jeq)
			if c.least {
				test = jge
			}
			prog = append(prog, unix.SockFilter{Code: load, K: argsAt + 8*c.arg},
				unix.SockFilter{Code: test, Jf: uint8(2*(len(w.on)-i-1) + 1), K: c.value})
		}
		prog = append(prog, unix.SockFilter{Code: ret, K: retNotif}, unix.SockFilter{Code: load, K: nrAt})
	}
	return append(prog, unix.SockFilter{Code: ret, K: retAllow})
}

// Available says why programs cannot be served here; nil if they can.
func Available() error {
	var sizes [3]uint16
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, getNotifSizes, 0, uintptr(unsafe.Pointer(&sizes)))
	if e != 0 {
		return fmt.Errorf("seccomp user notification (Linux 5.19 and later is needed): %w", e)
	}
	return nil
}

// sessionFD is the descriptor of the socket between Exec and its shim.
const sessionFD = 3

// Shim installs the filter, hands its listener to Exec, and becomes the
// program. It returns only when that fails, with the exit code.
func Shim() int {
	say := func(format string, args ...any) int {
		fmt.Fprintf(os.Stderr, "skep exec: "+format+"\n", args...)
		return NotBegun
	}
	runtime.LockOSThread() // the filter is this thread's, and exec keeps it
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "skep exec: %v\n", err)
		return 127
	}
	if os.Getenv(shimEnv) == shimRoot {
		// Daemons keep locks and sockets in /run, which is somebody else's.
		if err := unix.Mount("run", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return say("an empty /run for --root: %v: this system gives no rights within user namespaces", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return say("no_new_privs: %v", err)
	}
	fd, err := install(0)
	if err != nil {
		return say("%v", err)
	}
	if err := unix.Sendmsg(sessionFD, []byte{1}, unix.UnixRights(fd), nil, 0); err != nil {
		return say("listener: %v", err)
	}
	unix.Close(sessionFD)
	unix.Close(fd)
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, shimEnv+"=") {
			env = append(env, v)
		}
	}
	err = syscall.Exec(path, os.Args[1:], env)
	fmt.Fprintf(os.Stderr, "skep exec: %s: %v\n", path, err)
	if errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}

func ioctl(fd int, req uintptr, p unsafe.Pointer) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(p))
	return e
}
