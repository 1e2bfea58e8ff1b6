package classic

import (
	"encoding/binary"
	"fmt"
)

// SeccompDataSize is the size of struct seccomp_data in bytes.
const SeccompDataSize = 64

// SeccompData is what a seccomp filter sees of a system call (struct seccomp_data):
//
//	 0        4        8                   16                              64
//	┌────────┬────────┬───────────────────┬───────────────────────────────┐
//	│ nr     │ arch   │ instruction ptr   │ args[0] … args[5]             │
//	└────────┴────────┴───────────────────┴───────────────────────────────┘
//
// Filters read it in words of 32 bits in the machine's byte order.
type SeccompData struct {
	NR                 int32  // number of the system call
	Arch               uint32 // AUDIT_ARCH_*
	InstructionPointer uint64
	Args               [6]uint64
}

// Bytes lays the data out as the kernel does on a machine of that byte order.
func (d *SeccompData) Bytes(order binary.ByteOrder) (b [SeccompDataSize]byte) {
	order.PutUint32(b[0:], uint32(d.NR))
	order.PutUint32(b[4:], d.Arch)
	order.PutUint64(b[8:], d.InstructionPointer)
	for i, arg := range d.Args {
		order.PutUint64(b[16+8*i:], arg)
	}
	return b
}

// Action is what a seccomp filter returns: what to do in the upper 16 bits, and
// data for it in the lower.
type Action uint32

// The actions, from the strictest on (linux/seccomp.h).
const (
	KillProcess Action = 0x80000000
	KillThread  Action = 0x00000000
	Trap        Action = 0x00030000 // SIGSYS, si_errno = data
	Errno       Action = 0x00050000 // the call fails with errno data
	UserNotify  Action = 0x7fc00000 // ask the listener
	Trace       Action = 0x7ff00000 // ask the tracer
	Log         Action = 0x7ffc0000 // allow, and log
	Allow       Action = 0x7fff0000
)

// actionNames are the names of the actions without SECCOMP_RET_.
var actionNames = map[Action]string{
	KillProcess: "KILL_PROCESS",
	KillThread:  "KILL_THREAD",
	Trap:        "TRAP",
	Errno:       "ERRNO",
	UserNotify:  "USER_NOTIF",
	Trace:       "TRACE",
	Log:         "LOG",
	Allow:       "ALLOW",
}

// maxErrno is the highest errno a call can fail with (MAX_ERRNO).
const maxErrno = 4095

// Kind returns the action without its data.
func (a Action) Kind() Action { return a & 0xffff0000 }

// Data returns the lower 16 bits.
func (a Action) Data() uint16 { return uint16(a) }

// String returns the action as SECCOMP_RET_* with its data, as "ERRNO(13)";
// what is no action kills the process, and is shown as that.
func (a Action) String() string {
	name, known := actionNames[a.Kind()]
	switch {
	case !known:
		return fmt.Sprintf("KILL_PROCESS (unknown action %#x)", uint32(a))
	case a.Kind() == Errno:
		return fmt.Sprintf("ERRNO(%d)", min(a.Data(), maxErrno))
	case a.Data() != 0:
		return fmt.Sprintf("%s(%d)", name, a.Data())
	}
	return name
}

// Stricter reports whether a wins over b. Kinds are compared as signed numbers,
// which puts KillProcess before KillThread; among equals the one that was there
// first stays.
func (a Action) Stricter(b Action) bool { return int32(a.Kind()) < int32(b.Kind()) }

// RunSeccomp runs the filters of a task on a system call as the kernel does, the
// one installed last first, and returns the strictest answer. Every filter must
// have been made for [Seccomp]; without any the call is allowed.
func RunSeccomp(filters []*VM, d *SeccompData) Action {
	b := d.Bytes(binary.NativeEndian)
	verdict := Allow
	for i := len(filters) - 1; i >= 0; i-- {
		if a := Action(filters[i].Run(b[:], nil)); a.Stricter(verdict) {
			verdict = a
		}
	}
	return verdict
}
