// Package maps holds the map types, one file each, over off-heap memory.
//
// A map has two faces. The control side is what bpf(2) offers user space: keys
// and values as byte slices in the uapi's layout (a per-CPU value is one
// 8-byte-rounded value per possible CPU). The program side is what helpers and
// inlined code use: raw addresses of keys and values, no copies. Both follow
// the kernel's flag and errno behaviour exactly; where a type's behaviour is
// not the obvious one, the row in catalog or the type's file says which kernel function it follows.
package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
)

// Map is what every map type offers. All methods are safe for concurrent use
// by programs and user code. Errors of the control side are errno.Errno values
// (wrapped at the public edge only).
type Map interface {
	// Def returns the map's facts; they do not change after creation, but for ReadConst, which freezing sets.
	Def() *catalog.MapDef

	// Lookup copies the value of key into value. Value has the size [ValueSize] gives.
	Lookup(key, value []byte, flags uint64) error
	// LookupAndDelete is Lookup and Delete in one step; queues and stacks pop.
	LookupAndDelete(key, value []byte, flags uint64) error
	Update(key, value []byte, flags uint64) error
	Delete(key []byte) error
	// NextKey writes the key after key into next; a nil or absent key gives the first. ENOENT ends the walk.
	NextKey(key, next []byte) error
	// Freeze makes the control side read-only for good (BPF_MAP_FREEZE).
	Freeze() error
	// Close frees the map's memory. The last reference calls it, when no run can hold an address any more.
	Close()

	// ProgLookup returns the address of key's value, or 0. cpu selects the slot of per-CPU types.
	ProgLookup(cpu int, key uint64) uint64
	// ProgUpdate and ProgDelete take addresses and return R0: 0 or a negative errno.
	ProgUpdate(cpu int, key, value, flags uint64) uint64
	ProgDelete(cpu int, key uint64) uint64
}
