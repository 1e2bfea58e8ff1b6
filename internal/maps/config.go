package maps

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// Config is what a map needs of the Machine it belongs to. The zero value is a
// machine of one CPU that knows no descriptors.
type Config struct {
	// CPUs is the number of possible CPUs; 0 means 1.
	CPUs int
	// CPUsHere is how many of them are those of the machine, where other processes have the rest; 0: all.
	CPUsHere int
	// CPU returns the CPU on whose lists the control side works (LRU maps keep
	// free lists per CPU); nil means CPU 0.
	CPU func() int
	// Seed returns a random hash seed; nil means 0.
	Seed func() uint32
	// Epoch says when no program can still hold an address into memory that was
	// given back; nil means that programs never run while maps change.
	Epoch *mem.Epoch

	// Map and Prog resolve the descriptors that values of map-in-map types,
	// prog_array, devmap and cpumap hold. They return a reference, which the map closes.
	// Errors that are not errno.Errno count as EBADF.
	Map  func(fd uint32) (Map, error)
	Prog func(fd uint32) (Prog, error)
	// PerfBuffer resolves the perf event descriptors a perf_event_array is given, XSK an AF_XDP socket.
	PerfBuffer func(fd uint32) (*PerfBuffer, error)
	XSK        func(fd uint32) (Socket, error)
	// Sock resolves the socket descriptors that sockmap, sockhash and reuseport_sockarray hold,
	// SockAt the address of a Sock that a program puts into one. Nobody resolves: EBADF.
	Sock   func(fd uint32) (*socket.Socket, error)
	SockAt func(addr uint64) *socket.Socket
	// Object resolves the descriptors of tasks, inodes and control groups that keys of local storages
	// and values of cgroup_array are; the result is the map's to Put. nil: EBADF.
	Object func(kind catalog.MapOwners, fd uint32) (*Object, error)
	// Ops registers the structures of struct_ops maps; nil: of a table of the map's own.
	Ops *OpsTable
	// Device reports whether a network device exists; nil accepts every index.
	Device func(ifindex uint32) bool

	// Share keeps what user space can map (rings, arrays with BPF_F_MMAPABLE) in
	// files that other processes can map too, see [Mapped].
	Share bool

	// FreeField is called for each special field of an element that is deleted
	// or overwritten, before the field is zeroed: to cancel its timer, to drop its object.
	FreeField func(f catalog.SpecialField, addr uint64)
}

func (c *Config) cpus() int {
	if c.CPUs <= 0 {
		return 1
	}
	return c.CPUs
}

// cpusHere is the number of CPUs that programs of the machine run on.
func (c *Config) cpusHere() int {
	if c.CPUsHere != 0 {
		return c.CPUsHere
	}
	return c.cpus()
}

func (c *Config) cpu() int {
	if c.CPU == nil {
		return 0
	}
	return c.CPU()
}

func (c *Config) seed() uint32 {
	if c.Seed == nil {
		return 0
	}
	return c.Seed()
}

func (c *Config) retire(free func()) {
	if c.Epoch == nil {
		free()
		return
	}
	c.Epoch.Retire(free)
}

// kind is what a map type's file binds to the type's number. Legal flags,
// sizes and operations stand in the type's row in catalog.
type kind struct {
	// check refuses sizes and flags as the type's map_alloc_check and map_alloc
	// do; nil: what the row says is all there is to check (rowAllows).
	check func(row *catalog.MapKind, def *catalog.MapDef) errno.Errno
	// settle changes sizes and flags as the type's map_alloc does; nil: not at all.
	settle func(cfg *Config, def *catalog.MapDef)
	// make builds the map; c is ready but for its header and impl.
	make func(c *core) (Map, errno.Errno)
	// shared makes it where several processes have its memory; nil: it is one process's alone.
	shared *sharer
	// sealed makes it of a sealed copy of a map that is constant; nil: there are none.
	sealed func(c *core) (Map, errno.Errno)
}

// kinds are the map types with an implementation, filled by the types' files.
var kinds = map[catalog.MapType]*kind{}

// bind declares the implementation of a map type; for init functions.
func bind(t catalog.MapType, k kind) {
	if kinds[t] != nil {
		panic("BUG: map type " + strconv.Itoa(int(t)) + " bound twice")
	}
	kinds[t] = &k
}

// Supported reports whether maps of type t can be made.
func Supported(t catalog.MapType) bool { return kinds[t] != nil }

// UnsupportedError says that a map type the kernel knows has no implementation
// here. errors.Is(err, errors.ErrUnsupported) holds.
type UnsupportedError struct{ Type catalog.MapType }

// Is makes it an [errors.ErrUnsupported].
func (e *UnsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s maps are not supported in user space", e.Type)
}
