package bpfsys

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/mem"
)

// forPrograms are the commands that a program of type syscall may give (bpf_sys_bpf).
var forPrograms = map[Cmd]bool{
	MapCreate: true, MapUpdateElem: true, MapDeleteElem: true, MapFreeze: true, MapGetFDByID: true,
	ProgLoad: true, BTFLoad: true, LinkCreate: true, RawTracepointOpen: true,
}

// syscalls are what a program does for the caller that has it run.
type syscalls struct {
	s    *System
	user Memory
	who  Caller // whose memory is the machine's
}

// syscalls lets a program make system calls as this call's caller.
func (c *call) syscalls() helpers.Syscalls {
	p := &syscalls{s: c.s, user: c.who.user(), who: *c.who}
	p.who.Memory, p.who.User = machineMemory{}, p.user
	return p
}

func (p *syscalls) Bpf(cmd uint32, attr uint64, size uint32) (int32, errno.Errno) {
	if !forPrograms[Cmd(cmd)] {
		return 0, errno.EINVAL
	}
	return p.s.Bpf(&p.who, cmd, attr, size)
}

func (p *syscalls) Close(fd int32) errno.Errno { return p.who.Files.Close(fd) }

func (p *syscalls) ReadUser(addr uint64, to []byte) bool {
	return len(to) == 0 || p.user.Read(addr, to)
}

// TypeID follows bpf_find_btf_id.
func (p *syscalls) TypeID(name string, kind uint32) (int32, errno.Errno) {
	k := p.s.kernelBTF()
	if k == nil {
		return 0, errno.EINVAL
	}
	found, _ := k.spec.AnyTypesByName(name)
	first := btf.TypeID(0)
	for _, t := range found {
		if id, err := k.spec.TypeID(t); err == nil && kindOf(t) == kind && (first == 0 || id < first) {
			first = id
		}
	}
	if first == 0 {
		return 0, errno.ENOENT
	}
	return int32(first), 0
}

// kindOf is the kind of a type that has a name (BTF_KIND_*), else 0.
func kindOf(t btf.Type) uint32 {
	switch t := t.(type) {
	case *btf.Int:
		return 1
	case *btf.Struct:
		return 4
	case *btf.Union:
		return 5
	case *btf.Enum:
		if t.Size == 8 {
			return 19
		}
		return 6
	case *btf.Fwd:
		return 7
	case *btf.Typedef:
		return 8
	case *btf.Func:
		return 12
	case *btf.Var:
		return 14
	case *btf.Datasec:
		return 15
	case *btf.Float:
		return 16
	}
	return 0
}

// user is the memory that user space's pointers mean in every call.
func (c *Caller) user() Memory {
	if c.User != nil {
		return c.User
	}
	return c.Memory
}

// machineMemory is what programs see, kernel memory to them. Its addresses are good for as long as the
// program runs that named them.
type machineMemory struct{}

func (machineMemory) Read(addr uint64, b []byte) bool {
	if uint64(len(b)) > mem.Extent(addr) {
		return false
	}
	copy(b, mem.Bytes(addr, len(b)))
	return true
}

func (machineMemory) Write(addr uint64, b []byte) bool {
	if uint64(len(b)) > mem.Extent(addr) {
		return false
	}
	copy(mem.Bytes(addr, len(b)), b)
	return true
}
