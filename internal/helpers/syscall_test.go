package helpers

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// process makes the system calls of a process with one descriptor, one type and three bytes of memory.
type process struct{ t *testing.T }

func (p process) Bpf(cmd uint32, attr uint64, size uint32) (int32, errno.Errno) {
	if cmd != 5 || mem.Load8(attr) != 'a' || size != 8 {
		p.t.Errorf("bpf(%d, %#x, %d)", cmd, attr, size)
	}
	return 9, 0
}

func (process) Close(fd int32) errno.Errno {
	if fd != 9 {
		return errno.EBADF
	}
	return 0
}

func (process) TypeID(name string, kind uint32) (int32, errno.Errno) {
	if name != "task" || kind != 4 {
		return 0, errno.ENOENT
	}
	return 77, 0
}

func (process) ReadUser(addr uint64, to []byte) bool {
	return addr == 1 && copy(to, "abc") == len(to)
}

// What programs of type syscall do, for a process and for none; package bpfsys asks the kernel.
func TestSyscalls(t *testing.T) {
	e, _ := env(t)
	room := newScratch(t, 64)
	at := room.Addr()
	ebadf, inval, enoent, efault := errno.EBADF.Ret(), errno.EINVAL.Ret(), errno.ENOENT.Ret(), errno.EFAULT.Ret()
	copy(room.Bytes(), "attr\x00task\x00")
	task := at + 5

	want(t, "sys_bpf for nobody", e.do(catalog.FnSysBpf, 5, at, 8), errno.ENOSYS.Ret())
	want(t, "sys_close for nobody", e.do(catalog.FnSysClose, 9), ebadf)
	want(t, "btf_find_by_name_kind for nobody", e.do(catalog.FnBTFFindByNameKind, task, 5, 4, 0), inval)
	e.Syscalls = process{t}
	want(t, "sys_bpf", e.do(catalog.FnSysBpf, 5, at, 8), 9)
	want(t, "sys_close", e.do(catalog.FnSysClose, 9), 0)
	want(t, "sys_close of none", e.do(catalog.FnSysClose, 8), ebadf)
	want(t, "btf_find_by_name_kind", e.do(catalog.FnBTFFindByNameKind, task, 5, 4, 0), 77)
	want(t, "a kind that the name has not", e.do(catalog.FnBTFFindByNameKind, task, 5, 5, 0), enoent)
	want(t, "a name without its end", e.do(catalog.FnBTFFindByNameKind, task, 4, 4, 0), inval)
	want(t, "a name of nothing", e.do(catalog.FnBTFFindByNameKind, task+4, 1, 4, 0), inval)
	want(t, "flags", e.do(catalog.FnBTFFindByNameKind, task, 5, 4, 1), inval)

	res := at + 32
	for _, c := range []struct {
		what              string
		size, flags, want uint64
	}{{"a symbol", 5, 0, enoent}, {"a symbol with flags", 5, 1, inval}, {"a symbol without its end", 4, 0, inval}, {"no symbol", 0, 0, inval}} {
		mem.Store64(res, 1)
		want(t, c.what, e.do(catalog.FnKallsymsLookupName, task, c.size, c.flags, res), c.want)
		want(t, c.what+": the address", mem.Load64(res), 0)
	}

	for _, id := range []catalog.HelperID{catalog.FnCopyFromUser, catalog.FnProbeReadUser} {
		want(t, "user memory", e.do(id, res, 3, 1), 0)
		want(t, "what is there", mem.Load64(res)&0xffffff, 'a'|'b'<<8|'c'<<16)
		want(t, "machine memory, which is no user's", e.do(id, res, 3, at), efault)
		want(t, "what is left then", mem.Load64(res)&0xffffff, 0)
	}
}
