package helpers

import (
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// sysctlFuncs serve programs that look at the reading and writing of sysctls (kernel/bpf/cgroup.c).
var sysctlFuncs = map[catalog.HelperID]Func{
	catalog.FnSysctlGetName: func(e *Env, _, buf, n, flags, _ uint64) uint64 {
		return e.Sysctl.name(mem.Bytes(buf, int(n)), flags)
	},
	catalog.FnSysctlGetCurrentValue: func(e *Env, _, buf, n, _, _ uint64) uint64 {
		return sysctlValue(mem.Bytes(buf, int(n)), e.Sysctl.Current)
	},
	catalog.FnSysctlGetNewValue: func(e *Env, _, buf, n, _, _ uint64) uint64 {
		return sysctlValue(mem.Bytes(buf, int(n)), e.Sysctl.New)
	},
	catalog.FnSysctlSetNewValue: func(e *Env, _, buf, n, _, _ uint64) uint64 {
		return e.Sysctl.set(mem.Bytes(buf, int(n))).Ret()
	},
}

// Sysctl is a sysctl being read or written.
type Sysctl struct {
	Name    string // "net/ipv4/ip_forward"
	Current []byte // what is read; empty: it cannot be
	New     []byte // what is to be written; empty: nothing
	Set     bool   // a program has put New in the place of what was to be written
}

// MaxSysctl is the most bytes of a value that programs see (PAGE_SIZE).
const MaxSysctl = 4096

// sysctlBase asks for the last part of the name only (BPF_F_SYSCTL_BASE_NAME).
const sysctlBase = 1

func (s *Sysctl) name(buf []byte, flags uint64) uint64 {
	name := s.Name
	if flags&sysctlBase != 0 {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	n := copy(buf[:len(buf)-1], name)
	buf[n] = 0
	if n < len(name) {
		return errno.E2BIG.Ret()
	}
	return uint64(n)
}

// sysctlValue copies a value, and fills the room behind it with zeroes (copy_sysctl_value).
func sysctlValue(buf, value []byte) uint64 {
	n := copy(buf, value)
	clear(buf[n:])
	switch {
	case len(value) == 0:
		return errno.EINVAL.Ret()
	case n == len(buf):
		buf[n-1] = 0
		return errno.E2BIG.Ret()
	}
	return uint64(n)
}

func (s *Sysctl) set(value []byte) errno.Errno {
	switch {
	case len(s.New) == 0:
		return errno.EINVAL
	case len(value) > MaxSysctl-1:
		return errno.E2BIG
	}
	s.New, s.Set = append([]byte(nil), value...), true
	return 0
}
