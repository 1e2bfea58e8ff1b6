package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// probeFuncs read memory a program has only the address of. Here that is
// memory of the machine and the run; everything else faults, as a kernel
// program's read of an unmapped page does. User and kernel space are one, unless
// a process has the program run, see [Env.Syscalls].
var probeFuncs = map[catalog.HelperID]Func{
	catalog.FnProbeRead:          probeRead,
	catalog.FnProbeReadUser:      copyFromUser,
	catalog.FnProbeReadKernel:    probeRead,
	catalog.FnCopyFromUser:       copyFromUser,
	catalog.FnProbeReadStr:       probeReadStr,
	catalog.FnProbeReadUserStr:   probeReadStr,
	catalog.FnProbeReadKernelStr: probeReadStr,
}

// readable reports whether n bytes at addr may be read.
func (e *Env) readable(addr, n uint64) bool {
	return n == 0 || e.Readable != nil && addr+n > addr && e.Readable(addr, n)
}

func probeRead(e *Env, dst, size, src, _, _ uint64) uint64 {
	n := uint64(uint32(size))
	to := mem.Bytes(dst, int(n))
	if !(*memory)(e).Copy(to, src) {
		clear(to)
		return errno.EFAULT.Ret()
	}
	return 0
}

// probeReadStr copies a string, its zero byte included, and returns its length
// with that; a longer string is cut (bpf_probe_read_kernel_str).
func probeReadStr(e *Env, dst, size, src, _, _ uint64) uint64 {
	to := mem.Bytes(dst, int(uint32(size)))
	if len(to) == 0 {
		return 0
	}
	n, ok := (*memory)(e).CopyString(to, src)
	if !ok {
		clear(to)
		return errno.EFAULT.Ret()
	}
	return uint64(n)
}

// memory is an Env seen as memory that may not be there.
type memory Env

// Copy fills to with the bytes at addr if they can be read.
func (m *memory) Copy(to []byte, addr uint64) bool {
	ok := (*Env)(m).readable(addr, uint64(len(to)))
	if ok {
		copy(to, mem.Bytes(addr, len(to)))
	}
	return ok
}

// CopyString copies the string at addr into to, cut to fit, and ends it with a
// zero byte; n counts that. It is false when the string runs into memory that
// cannot be read (strncpy_from_kernel_nofault).
func (m *memory) CopyString(to []byte, addr uint64) (n int, ok bool) {
	e := (*Env)(m)
	whole := e.readable(addr, uint64(len(to)))
	for i := range to {
		if !whole && !e.readable(addr+uint64(i), 1) {
			return 0, false
		}
		to[i] = mem.Load8(addr + uint64(i))
		if to[i] == 0 {
			return i + 1, true
		}
	}
	to[len(to)-1] = 0
	return len(to), true
}
