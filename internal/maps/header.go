package maps

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// Every map begins with a header in off-heap memory. Its address is
// MapDef.Ptr, the value a program's map register holds; inlined lookups read
// the rest of it. Offsets in bytes, all fields in the machine's byte order:
//
//	  0            4            8            12
//	┌────────────┬────────────┬────────────┬─────────────┐
//	│ type       │ key size   │ value size │ max entries │
//	├────────────┼────────────┼────────────┼─────────────┤ 16
//	│ map flags  │ id         │ base                     │
//	├────────────┼────────────┼──────────────────────────┤ 32
//	│ elem size  │ mask       │ CPU stride               │
//	├────────────┴────────────┼────────────┬─────────────┤ 48
//	│ buckets                 │ hash seed  │ value off   │
//	├─────────────────────────┼────────────┼─────────────┤ 64
//	│ per-CPU values          │ slot       │             │
//	└─────────────────────────┴────────────┴─────────────┘ 80
//
//	base        value 0 of an array; element 0 of a hash table; slot 0 of a table of addresses
//	elem size   distance from one element to the next
//	mask        of hash tables: number of buckets − 1
//	CPU stride  distance from one CPU's values to the next CPU's; 0 where not per CPU
//	buckets     of hash tables: the array of 32-bit list heads
//	value off   of hash tables: from an element to its value
//	per-CPU     of per-CPU hash tables: where CPU 0's value of element 0 lies (see table.go);
//	            of tries: the index, or 0 (see lpm_index.go)
//	slot        the Registry's
const (
	HeaderType       = 0
	HeaderKeySize    = 4
	HeaderValueSize  = 8
	HeaderMaxEntries = 12
	HeaderFlags      = 16
	HeaderID         = 20
	HeaderBase       = 24
	HeaderElemSize   = 32
	HeaderMask       = 36
	HeaderCPUStride  = 40
	HeaderBuckets    = 48
	HeaderSeed       = 56
	HeaderValueOff   = 60
	HeaderPerCPU     = 64
	headerSlot       = 72 // the map's place in its Registry
	HeaderSize       = 80
)

// headers is where headers come from.
var headers = mem.NewSlab(HeaderSize, 50)

// newHeader gives the map a header of its own.
func (c *core) newHeader() errno.Errno {
	p, err := headers.Get()
	if err != nil {
		return errno.ENOMEM
	}
	clear(mem.Bytes(p, HeaderSize))
	c.def.Ptr, c.ownHeader = p, true
	return 0
}

// setHeader fills the part of the header that every type has.
func (c *core) setHeader() {
	p := c.def.Ptr
	mem.Store32(p+HeaderType, uint32(c.def.Type))
	mem.Store32(p+HeaderKeySize, c.def.KeySize)
	mem.Store32(p+HeaderValueSize, c.def.ValueSize)
	mem.Store32(p+HeaderMaxEntries, c.def.MaxEntries)
	mem.Store32(p+HeaderFlags, c.def.Flags)
	mem.Store32(p+HeaderID, c.def.ID)
}
