// Package maps holds the map types, one file each, over off-heap memory.
//
// A map has two faces. The control side is what bpf(2) offers user space: keys
// and values as byte slices in the uapi's layout (a per-CPU value is one
// 8-byte-rounded value per possible CPU). The program side is what helpers and
// inlined code use: raw addresses of keys and values, no copies, no
// allocation. Both follow the kernel's flag and errno behaviour exactly; where
// a type's behaviour is not the obvious one, its file says which kernel
// function it follows.
//
// The layers, from the outside in:
//
//	Handle     a descriptor's view: BPF_F_RDONLY and BPF_F_WRONLY
//	core       what kernel/bpf/syscall.c does for every type: flags, frozen maps, batches
//	Array, …   the type: its memory, and what its bpf_map_ops do
package maps

import (
	"os"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/socket"
)

// Map is what every map type offers. All methods are safe for concurrent use
// by programs and user code. Errors of the control side are errno.Errno values
// (wrapped at the public edge only).
type Map interface {
	// Def returns the map's facts; they do not change once the map is in a Registry.
	Def() *catalog.MapDef
	// ValueSize is the size of a value as the control side sees it, in bytes:
	// of all CPUs together for per-CPU types, 4 for types that hold descriptors.
	ValueSize() int

	// Lookup copies the value of key into value; a queue or stack peeks, with a nil
	// key. A bloom filter reads value and says by ENOENT that it was never pushed.
	Lookup(key, value []byte, flags uint64) error
	// LookupAndDelete is Lookup and Delete in one step; queues and stacks pop.
	LookupAndDelete(key, value []byte, flags uint64) error
	Update(key, value []byte, flags uint64) error
	Delete(key []byte) error
	// NextKey writes the key after key into next; a nil or absent key gives the first. ENOENT ends the walk.
	NextKey(key, next []byte) error

	// LookupBatch copies up to b.Count elements into b.Keys and b.Values,
	// LookupAndDeleteBatch removes them too. They return how many; ENOENT beside a
	// count says that these were the last. UpdateBatch and DeleteBatch return how
	// many elements were done before the error.
	LookupBatch(b Batch) (int, error)
	LookupAndDeleteBatch(b Batch) (int, error)
	UpdateBatch(b Batch) (int, error)
	DeleteBatch(b Batch) (int, error)

	// Admit refuses an operation of the control side for what can be told before a
	// key or value is looked at: rights, frozen maps, flags. The operations ask it
	// themselves; bpf(2) asks before it reads memory.
	Admit(op catalog.MapOp, flags uint64) errno.Errno

	// Freeze makes the control side read-only for good (BPF_MAP_FREEZE).
	Freeze() error
	// Frozen reports whether Freeze has succeeded.
	Frozen() bool

	// Acquire takes another reference; every reference is given back by Close.
	// The last Close frees the map's memory, when no run can hold an address any more.
	Acquire()
	Close()

	// ProgLookup returns the address of key's value, or 0. cpu selects the slot of per-CPU types.
	ProgLookup(cpu int, key uint64) uint64
	// ProgUpdate and ProgDelete take addresses and return R0: 0 or a negative errno.
	ProgUpdate(cpu int, key, value, flags uint64) uint64
	ProgDelete(cpu int, key uint64) uint64
}

// Batch is one batch operation (the batch part of union bpf_attr).
type Batch struct {
	// In is the position a former lookup left in Out; nil starts from the first
	// element. Out takes the position to go on from. For the hash types a position is a bucket
	// number of 4 bytes, for the others a key.
	In, Out []byte
	// Keys and Values hold Count elements each, without gaps.
	Keys, Values []byte
	Count        uint32
	ElemFlags    uint64
	Flags        uint64
}

// PerCPUMap is offered by per-CPU types, for bpf_map_lookup_percpu_elem.
type PerCPUMap interface {
	Map
	// ProgLookupPerCPU returns the address of cpu's value of key, or 0.
	ProgLookupPerCPU(key uint64, cpu uint32) uint64
}

// StackMap is offered by queue, stack and bloom filter: maps without keys, for
// bpf_map_push_elem, _pop_elem and _peek_elem. Arguments are addresses, results R0 values.
type StackMap interface {
	Map
	ProgPush(value, flags uint64) uint64
	ProgPop(value uint64) uint64
	ProgPeek(value uint64) uint64
}

// Iter is a position in a walk over a map, and the element there.
type Iter struct {
	Key, Value uint64 // addresses
	// KeyBuf is the address of 4 bytes of the caller's, where types whose keys
	// are not stored (arrays) put the key.
	KeyBuf uint64

	pos  uint32 // array: next index; hash: next bucket
	elem uint32 // hash: link to go on with
	live bool   // elem is valid

	steps uint32 // elements so far, of maps in shared memory
}

// IterMap is offered by the types bpf_for_each_map_elem takes. A walk begins
// with Iter{KeyBuf: addr} and ends when ok is false.
type IterMap interface {
	Map
	ProgNext(cpu int, it Iter) (next Iter, ok bool)
}

// Mapped is offered by the types whose memory user space maps: the file other
// processes can map it by, nil where [Config.Share] was not set or the map has no such memory.
type Mapped interface{ File() *os.File }

// RedirectMap is offered by devmap, devmap_hash, cpumap and xskmap, for
// bpf_redirect_map and the hook that carries the redirect out.
type RedirectMap interface {
	Map
	// Target returns what the entry at key points to; ok is false for an empty entry.
	Target(key uint32) (t Target, ok bool)
	// Targets calls f with every entry, in the order of a broadcast (BPF_F_BROADCAST), until f returns false.
	Targets(f func(key uint32, t Target) bool)
}

// Target is one entry of a [RedirectMap].
type Target struct {
	Ifindex uint32 // devmap, devmap_hash
	CPU     uint32 // cpumap
	Qsize   uint32 // cpumap
	Socket  Socket // xskmap
	Prog    Prog   // devmap, devmap_hash, cpumap: the program run at the target, or nil
}

// SocketMap is offered by reuseport_sockarray, sockmap and sockhash.
type SocketMap interface {
	Map
	// Socket returns the socket at the key, which lies at an address, or nil.
	Socket(key uint64) *socket.Socket
}

// SocketTaker is offered by sockmap and sockhash.
type SocketTaker interface {
	// Take puts a socket at the key, which lies at an address, whatever state it is in: programs that look
	// after connections do so when they begin (bpf_sock_map_update).
	Take(key uint64, s *socket.Socket, flags uint64) errno.Errno
}

// Prog is a program as maps hold it: in prog_array entries, and behind the
// entries of devmap and cpumap.
type Prog interface {
	ID() uint32
	// Owner says which programs may share a map with this one.
	Owner() ProgOwner
	// Target is what native code goes by that calls the program by tail; 0 where there is none.
	Target() uint64
	// Enter counts the program into a prog_array, and Leave out again; not ok where it may not be in one.
	Enter() bool
	Leave()
	Acquire()
	Close()
}

// ProgOwner is what all programs that use or sit in one prog_array, devmap or
// cpumap have in common (struct bpf_map_owner).
type ProgOwner struct {
	Type   catalog.ProgType
	Attach catalog.AttachType
	Frags  bool // BPF_F_XDP_HAS_FRAGS
	Native bool // compiled, not interpreted
}
