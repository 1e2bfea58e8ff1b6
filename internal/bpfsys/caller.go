package bpfsys

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/pin"
	"github.com/skep-bpf/skep/internal/run"
)

// Caps are the capabilities bpf(2) asks for.
type Caps uint8

// Capabilities. CapSysAdmin stands for the others as well.
const (
	CapBPF Caps = 1 << iota
	CapPerfmon
	CapNetAdmin
	CapSysAdmin

	AllCaps = CapBPF | CapPerfmon | CapNetAdmin | CapSysAdmin
)

// Caller is who calls bpf(2).
type Caller struct {
	Memory Memory
	// User is memory that what stays user space's in every call is in: logs, names of tracepoints; nil: Memory.
	User  Memory
	Files Files
	Names Names // nil: the system's own
	Caps  Caps
	UID   uint32
	// Places are what perf events and probes are made of; nil: there are none.
	Places Places
	// Sockets tells of the sockets among its descriptors; nil: none is known for one.
	Sockets Sockets
	// Objects tells of its pidfds and files; nil: of none.
	Objects Objects
	// CPU tells which CPU the caller is on, where programs are run for it; nil: nobody knows.
	CPU func() int
}

// near is the CPU to run a program on, as testrun takes it.
func (c *Caller) near() int {
	if c.CPU == nil {
		return 0
	}
	return c.CPU() + 1
}

// can follows bpf_token_capable and bpf_capable.
func (c *Caller) can(cap Caps) bool { return c.Caps&(cap|CapSysAdmin) != 0 }

// Memory is a caller's address space. Both report false where any byte cannot be reached.
type Memory interface {
	Read(addr uint64, b []byte) bool
	Write(addr uint64, b []byte) bool
}

// Files are a caller's descriptors.
type Files interface {
	// File returns what a descriptor refers to, with a reference for the caller
	// to Put; nil without error for an open file that is none of ours; EBADF for none at all.
	File(fd int32) (*File, errno.Errno)
	// Cgroup returns the numbers of a control group that a descriptor is a directory
	// of, and of all above it, the root last; nil for other files.
	Cgroup(fd int32) []uint64
	// Install gives the caller a descriptor for f and takes over its reference, also when it fails.
	Install(f *File) (int32, errno.Errno)
	// Close closes a descriptor; EBADF for none.
	Close(fd int32) errno.Errno
}

// File is an open file: one reference to an object, and what may be done with
// it. It is shared by the descriptors that were duplicated from one.
type File struct {
	object pin.Object
	refs   atomic.Int64
}

// NewFile makes a file that takes over a reference to o.
func NewFile(o pin.Object) *File {
	f := &File{object: o}
	f.refs.Store(1)
	return f
}

// Get takes another reference; it fails when the last one is gone already.
func (f *File) Get() bool {
	for n := f.refs.Load(); n > 0; n = f.refs.Load() {
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Put gives a reference back; the last one closes the file.
func (f *File) Put() {
	if f.refs.Add(-1) != 0 {
		return
	}
	if m, ok := f.object.(Map); ok {
		if events, ok := maps.Unwrap(m.Map).(*maps.PerfEventArray); ok {
			events.Leave(f)
		}
	}
	f.object.Close()
}

// Object is what the file refers to. It is the file's.
func (f *File) Object() pin.Object { return f.object }

// Kind is the name the kernel shows for files of the object's kind: "bpf-map".
func (f *File) Kind() string {
	switch f.object.(type) {
	case Map:
		return "bpf-map"
	case *run.Program:
		return "bpf-prog"
	case *BTF:
		return "btf"
	case *Link:
		return "bpf-link"
	case *Iter:
		return "bpf_iter"
	case *PerfEvent:
		return "[perf_event]"
	case *XSK:
		return "socket"
	}
	return "bpf-stats"
}

// Map is a reference to a map as a descriptor has it, with its access rights.
type Map struct {
	maps.Map
	m *run.Machine
}

// Acquire takes another handle.
func (m Map) Acquire() { m.m.ShareMap(m.Map) }

// Close gives a handle back.
func (m Map) Close() { m.m.CloseMap(m.Map) }

// open resolves a descriptor to an object of type T, whose file the caller
// puts back: EBADF for none, EINVAL for another kind.
func open[T pin.Object](c *call, fd int32) (obj T, f *File, e errno.Errno) {
	f, e = c.who.Files.File(fd)
	if e != 0 {
		return obj, nil, e
	}
	if f == nil {
		return obj, nil, errno.EINVAL
	}
	obj, ok := f.object.(T)
	if !ok {
		f.Put()
		return obj, nil, errno.EINVAL
	}
	return obj, f, 0
}

// install hands an object to the caller, as a new file.
func (c *call) install(o pin.Object) (int32, errno.Errno) { return c.who.Files.Install(NewFile(o)) }

// read copies n bytes from the caller.
func (c *call) read(addr uint64, n int) ([]byte, errno.Errno) {
	b := make([]byte, n)
	if _, ok := c.who.Memory.(machineMemory); ok && mem.Extent(addr) == 0 { // even of no bytes
		return nil, errno.EFAULT
	}
	if n != 0 && !c.who.Memory.Read(addr, b) {
		return nil, errno.EFAULT
	}
	return b, 0
}

func (c *call) write(addr uint64, b []byte) errno.Errno {
	if len(b) != 0 && !c.who.Memory.Write(addr, b) {
		return errno.EFAULT
	}
	return 0
}

// readString copies a string of at most limit bytes, its zero included;
// ok is false where there is none (strncpy_from_user). What is longer is cut.
func (c *call) readString(addr uint64, limit int) (s string, ok bool) {
	return readString(c.who.Memory, addr, limit)
}

func readString(m Memory, addr uint64, limit int) (s string, ok bool) {
	var out []byte
	for len(out) < limit {
		// Never across a page: the next one may not be there.
		n := min(limit-len(out), pageSize-int(addr%pageSize))
		if _, ok := m.(machineMemory); ok { // nor across the end of what an allocation has
			n = int(max(1, min(uint64(n), mem.Extent(addr))))
		}
		part := make([]byte, n)
		if !m.Read(addr, part) {
			return "", false
		}
		if i := bytes.IndexByte(part, 0); i >= 0 {
			return string(append(out, part[:i]...)), true
		}
		out = append(out, part...)
		addr += uint64(n)
	}
	return string(out), true
}

func u32bytes(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
