package maps

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
)

// A value's plain bytes are copied, its special fields are not: a spin lock, a
// timer or a kptr belongs to the element it lies in (the kernel's
// copy_map_value, zero_map_value and check_and_init_map_value).

// valueLayout says how values of one map are copied.
type valueLayout struct {
	size    uint32 // value_size
	segs    []segment
	special []catalog.SpecialField
	lock    int32 // offset of the bpf_spin_lock, or -1
	shm     *shm  // where other processes have the lock too; else nil
}

// segment is a run of plain bytes.
type segment struct{ off, len uint32 }

func newValueLayout(def *catalog.MapDef) valueLayout {
	v := valueLayout{size: def.ValueSize, special: def.Special, lock: -1}
	at := uint32(0)
	for _, f := range def.Special {
		if f.Off > at {
			v.segs = append(v.segs, segment{at, f.Off - at})
		}
		at = f.Off + f.Size
		if f.Kind == catalog.SpecialSpinLock {
			v.lock = int32(f.Off)
		}
	}
	if at < v.size {
		v.segs = append(v.segs, segment{at, v.size - at})
	}
	return v
}

// rounded returns the layout of a per-CPU slot: without special fields, the
// padding up to 8 bytes is copied too (bpf_long_memcpy).
func (v valueLayout) rounded() valueLayout {
	if len(v.special) == 0 {
		v.segs = []segment{{0, round8(v.size)}}
	}
	return v
}

// plain reports whether values have no special fields.
func (v *valueLayout) plain() bool { return len(v.special) == 0 }

// copy copies the plain bytes of a value.
func (v *valueLayout) copy(dst, src unsafe.Pointer) {
	if len(v.segs) == 1 && v.segs[0] == (segment{0, 8}) && uintptr(dst)&7 == 0 {
		*(*uint64)(dst) = *(*uint64)(src)
		return
	}
	for _, s := range v.segs {
		copyWords(unsafe.Add(dst, s.off), unsafe.Add(src, s.off), uintptr(s.len))
	}
}

// hide clears the special fields in a copy of a value.
func (v *valueLayout) hide(dst unsafe.Pointer) {
	for _, f := range v.special {
		clear(unsafe.Slice((*byte)(unsafe.Add(dst, f.Off)), f.Size))
	}
}

// copyLocked is copy under the spin lock of the value at holder, which is
// either src or dst (copy_map_value_locked).
func (v *valueLayout) copyLocked(dst, src, holder unsafe.Pointer) {
	l := (*uint32)(unsafe.Add(holder, v.lock))
	if v.shm != nil {
		v.shm.lockValue(l)
		v.copy(dst, src)
		v.shm.unlockValue(l)
		return
	}
	lockWord(l)
	v.copy(dst, src)
	atomic.StoreUint32(l, 0)
}

// copyWords copies n bytes in the largest naturally aligned pieces of dst's
// alignment, each with one store, so that a program which reads a word while
// the control side writes it sees the old or the new word, never a mixture.
// dst and src may be in off-heap memory that programs change at the same time;
// neither the race detector nor the collector looks there.
func copyWords(dst, src unsafe.Pointer, n uintptr) {
	i := uintptr(0)
	if uintptr(dst)&7 == 0 {
		for ; i+8 <= n; i += 8 {
			*(*uint64)(unsafe.Add(dst, i)) = *(*uint64)(unsafe.Add(src, i))
		}
	}
	if uintptr(dst)&3 == 0 {
		for ; i+4 <= n; i += 4 {
			*(*uint32)(unsafe.Add(dst, i)) = *(*uint32)(unsafe.Add(src, i))
		}
	}
	if uintptr(dst)&1 == 0 && i+2 <= n {
		*(*uint16)(unsafe.Add(dst, i)) = *(*uint16)(unsafe.Add(src, i))
		i += 2
	}
	for ; i < n; i++ {
		*(*byte)(unsafe.Add(dst, i)) = *(*byte)(unsafe.Add(src, i))
	}
}

// lockWord takes a struct bpf_spin_lock. The holder is a running program or a
// short copy, so waiting yields the processor instead of parking.
func lockWord(l *uint32) {
	for spins := 0; !atomic.CompareAndSwapUint32(l, 0, 1); spins++ {
		if spins >= 16 {
			runtime.Gosched()
		}
	}
}

// ptr returns the address of a slice's first byte; the slice is not empty.
func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func round8(n uint32) uint32 { return (n + 7) &^ 7 }
