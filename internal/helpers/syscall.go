package helpers

import (
	"bytes"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// syscallFuncs are the system calls of programs of type syscall (kernel/bpf/syscall.c), which loaders
// are made of: those of light skeletons load an object's maps and programs with them.
var syscallFuncs = map[catalog.HelperID]Func{
	catalog.FnSysBpf:             sysBpf,
	catalog.FnSysClose:           sysClose,
	catalog.FnBTFFindByNameKind:  findType,
	catalog.FnKallsymsLookupName: lookupSymbol,
}

// Syscalls makes system calls as the process that has a program run.
type Syscalls interface {
	// Bpf is bpf(2) with an attribute of size bytes at attr. It lies in memory of the machine, as does what it
	// points to. The result is a descriptor of the process where the command makes one.
	Bpf(cmd uint32, attr uint64, size uint32) (int32, errno.Errno)
	// Close closes a descriptor of the process.
	Close(fd int32) errno.Errno
	// TypeID is the id of the first of the kernel's types of a kind (BTF_KIND_*) with a name.
	TypeID(name string, kind uint32) (int32, errno.Errno)
	// ReadUser copies from the process's own memory; false if any byte cannot be read.
	ReadUser(addr uint64, to []byte) bool
}

// result is a system call's result as a helper's.
func result(r int32, e errno.Errno) uint64 {
	if e != 0 {
		return e.Ret()
	}
	return uint64(int64(r))
}

// sysBpf follows bpf_sys_bpf. Who has no bpf(2) is in a process without that system call.
func sysBpf(e *Env, cmd, attr, size, _, _ uint64) uint64 {
	if e.Syscalls == nil {
		return errno.ENOSYS.Ret()
	}
	return result(e.Syscalls.Bpf(uint32(cmd), attr, uint32(size)))
}

// sysClose follows bpf_sys_close.
func sysClose(e *Env, fd, _, _, _, _ uint64) uint64 {
	if e.Syscalls == nil {
		return errno.EBADF.Ret()
	}
	return e.Syscalls.Close(int32(fd)).Ret()
}

// givenName reads a name of size bytes, of which the last and no other must be zero.
func givenName(at, size uint64) (string, bool) {
	n := int32(size)
	if n <= 1 || mem.Load8(at+uint64(n)-1) != 0 {
		return "", false
	}
	name, _, _ := bytes.Cut(mem.Bytes(at, int(n)), []byte{0})
	return string(name), true
}

// findType follows bpf_btf_find_by_name_kind. There are no modules, in whose types it would go on looking.
func findType(e *Env, at, size, kind, flags, _ uint64) uint64 {
	name, ok := givenName(at, size)
	if int32(flags) != 0 || !ok || e.Syscalls == nil {
		return errno.EINVAL.Ret()
	}
	return result(e.Syscalls.TypeID(name, uint32(kind)))
}

// lookupSymbol follows bpf_kallsyms_lookup_name in a kernel that shows no symbol.
func lookupSymbol(e *Env, at, size, flags, res, _ uint64) uint64 {
	mem.Store64(res, 0)
	if _, ok := givenName(at, size); int32(flags) != 0 || !ok {
		return errno.EINVAL.Ret()
	}
	return errno.ENOENT.Ret()
}

// copyFromUser follows bpf_copy_from_user and bpf_probe_read_user: where a process has the program run, user memory is its own.
func copyFromUser(e *Env, dst, size, src, _, _ uint64) uint64 {
	if e.Syscalls == nil {
		return probeRead(e, dst, size, src, 0, 0)
	}
	to := mem.Bytes(dst, int(uint32(size)))
	if !e.Syscalls.ReadUser(src, to) {
		clear(to)
		return errno.EFAULT.Ret()
	}
	return 0
}
