package interp

import (
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// Division follows the kernel, not the processor: nothing traps. A zero divisor
// gives quotient 0 and leaves the dividend as remainder; the one quotient that does
// not fit, the smallest number by -1, wraps to itself with remainder 0 (RFC 9669, 4.1).

func div64(a, b uint64) uint64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func mod64(a, b uint64) uint64 {
	if b == 0 {
		return a
	}
	return a % b
}

func sdiv64(a, b uint64) uint64 {
	switch {
	case b == 0:
		return 0
	case int64(a) == math.MinInt64 && int64(b) == -1:
		return a
	}
	return uint64(int64(a) / int64(b))
}

func smod64(a, b uint64) uint64 {
	switch {
	case b == 0:
		return a
	case int64(b) == -1:
		return 0
	}
	return uint64(int64(a) % int64(b))
}

func sdiv32(a, b uint32) uint32 { return uint32(sdiv64(sext32(a), sext32(b))) }
func smod32(a, b uint32) uint32 { return uint32(smod64(sext32(a), sext32(b))) }

// anyDiv64 and its kin choose by the instruction's offset: 1 means signed.
func anyDiv64(a, b uint64, off int16) uint64 {
	if off == 1 {
		return sdiv64(a, b)
	}
	return div64(a, b)
}

func anyMod64(a, b uint64, off int16) uint64 {
	if off == 1 {
		return smod64(a, b)
	}
	return mod64(a, b)
}

func anyDiv32(a, b uint32, off int16) uint64 {
	if off == 1 {
		return uint64(sdiv32(a, b))
	}
	return div64(uint64(a), uint64(b))
}

func anyMod32(a, b uint32, off int16) uint64 {
	if off == 1 {
		return uint64(smod32(a, b))
	}
	return mod64(uint64(a), uint64(b))
}

func sext8(v uint64) uint64  { return uint64(int64(int8(v))) }
func sext16(v uint64) uint64 { return uint64(int64(int16(v))) }
func sext32(v uint32) uint64 { return uint64(int64(int32(v))) }

// sext extends the sign of the low 8, 16 or 32 bits; 0 bits means a plain move.
func sext(v uint64, width int16) uint64 {
	switch width {
	case 8:
		return sext8(v)
	case 16:
		return sext16(v)
	case 32:
		return sext32(uint32(v))
	}
	return v
}

// toLE truncates: skep runs on little-endian machines only.
func toLE(v uint64, width int32) uint64 {
	switch width {
	case 16:
		return uint64(uint16(v))
	case 32:
		return uint64(uint32(v))
	}
	return v
}

// bswap reverses the low 16, 32 or 64 bits and clears the rest.
func bswap(v uint64, width int32) uint64 {
	switch width {
	case 16:
		return uint64(bits.ReverseBytes16(uint16(v)))
	case 32:
		return uint64(bits.ReverseBytes32(uint32(v)))
	}
	return bits.ReverseBytes64(v)
}

// probe loads size bytes, or zero where the address is in no memory of skep's
// (BPF_PROBE_MEM).
func probe(addr uint64, size int) uint64 {
	if !mem.Readable(addr, size) {
		return 0
	}
	return load(addr, size)
}

func load(addr uint64, size int) uint64 {
	switch size {
	case 1:
		return uint64(mem.Load8(addr))
	case 2:
		return uint64(mem.Load16(addr))
	case 4:
		return uint64(mem.Load32(addr))
	}
	return mem.Load64(addr)
}

// atomic64 carries out an atomic instruction on eight bytes. Other vCPUs run at
// the same time, so it is one on the machine too; the verifier has made sure of the alignment.
func atomic64(r *[16]uint64, ins *isa.Instruction) {
	src := &r[ins.Src&15]
	if ins.Imm == isa.LoadAcquire {
		r[ins.Dst&15] = atomic.LoadUint64((*uint64)(mem.Ptr(*src + uint64(int64(ins.Off)))))
		return
	}
	p := (*uint64)(mem.Ptr(r[ins.Dst&15] + uint64(int64(ins.Off))))
	var old uint64
	switch ins.Imm &^ isa.Fetch {
	case isa.AtomicAdd:
		old = atomic.AddUint64(p, *src) - *src
	case isa.AtomicOr:
		old = atomic.OrUint64(p, *src)
	case isa.AtomicAnd:
		old = atomic.AndUint64(p, *src)
	case isa.AtomicXor:
		for old = atomic.LoadUint64(p); !atomic.CompareAndSwapUint64(p, old, old^*src); old = atomic.LoadUint64(p) {
		}
	case isa.AtomicXchg &^ isa.Fetch:
		old = atomic.SwapUint64(p, *src)
	case isa.AtomicCmpXch &^ isa.Fetch:
		r[0] = cmpxchg64(p, r[0], *src)
		return
	case isa.StoreRelease:
		atomic.StoreUint64(p, *src)
		return
	}
	if ins.Imm&isa.Fetch != 0 {
		*src = old
	}
}

// cmpxchg64 stores v where *p is want and returns what was there in any case.
func cmpxchg64(p *uint64, want, v uint64) uint64 {
	for {
		if atomic.CompareAndSwapUint64(p, want, v) {
			return want
		}
		// Between the two steps the value may have become want: then try again,
		// as the answer has to be a value for which nothing was stored.
		if old := atomic.LoadUint64(p); old != want {
			return old
		}
	}
}

// atomic32 is atomic64 on four bytes; what it fetches is zero-extended.
func atomic32(r *[16]uint64, ins *isa.Instruction) {
	src := &r[ins.Src&15]
	if ins.Imm == isa.LoadAcquire {
		r[ins.Dst&15] = uint64(atomic.LoadUint32((*uint32)(mem.Ptr(*src + uint64(int64(ins.Off))))))
		return
	}
	p := (*uint32)(mem.Ptr(r[ins.Dst&15] + uint64(int64(ins.Off))))
	v := uint32(*src)
	var old uint32
	switch ins.Imm &^ isa.Fetch {
	case isa.AtomicAdd:
		old = atomic.AddUint32(p, v) - v
	case isa.AtomicOr:
		old = atomic.OrUint32(p, v)
	case isa.AtomicAnd:
		old = atomic.AndUint32(p, v)
	case isa.AtomicXor:
		for old = atomic.LoadUint32(p); !atomic.CompareAndSwapUint32(p, old, old^v); old = atomic.LoadUint32(p) {
		}
	case isa.AtomicXchg &^ isa.Fetch:
		old = atomic.SwapUint32(p, v)
	case isa.AtomicCmpXch &^ isa.Fetch:
		r[0] = uint64(cmpxchg32(p, uint32(r[0]), v))
		return
	case isa.StoreRelease:
		atomic.StoreUint32(p, v)
		return
	}
	if ins.Imm&isa.Fetch != 0 {
		*src = uint64(old)
	}
}

// cmpxchg32 is cmpxchg64 on four bytes.
func cmpxchg32(p *uint32, want, v uint32) uint32 {
	for {
		if atomic.CompareAndSwapUint32(p, want, v) {
			return want
		}
		if old := atomic.LoadUint32(p); old != want {
			return old
		}
	}
}

// atomicNarrow is load-acquire and store-release of one or two bytes. Go's
// atomics know only words, so it goes through the aligned word around the bytes,
// which lies in the same page and keeps its other bytes.
func atomicNarrow(r *[16]uint64, ins *isa.Instruction) {
	mask := uint32(1)<<(8*ins.Op.Bytes()) - 1
	base := r[ins.Dst&15]
	if ins.Imm == isa.LoadAcquire {
		base = r[ins.Src&15]
	}
	addr := base + uint64(int64(ins.Off))
	word := (*uint32)(mem.Ptr(addr &^ 3))
	shift := 8 * (addr & 3)
	if ins.Imm == isa.LoadAcquire {
		r[ins.Dst&15] = uint64(atomic.LoadUint32(word) >> shift & mask)
		return
	}
	v := uint32(r[ins.Src&15]) & mask << shift
	for {
		old := atomic.LoadUint32(word)
		if atomic.CompareAndSwapUint32(word, old, old&^(mask<<shift)|v) {
			return
		}
	}
}
