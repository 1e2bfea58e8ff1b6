package maps

import (
	"encoding/binary"
	"math"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapArray, kind{check: checkArray, make: newArray,
		shared: &sharer{size: sharedArraySize, make: newSharedArray}, sealed: newSealedArray})
}

// Array is BPF_MAP_TYPE_ARRAY: values one after the other, each rounded up to
// 8 bytes, the first at Def().ValueBase, page aligned.
//
//	┌─────────┬─────────┬─────────┬─ ─ ─┬─────────────────┐
//	│ value 0 │ value 1 │ value 2 │     │ value max−1     │
//	└─────────┴─────────┴─────────┴─ ─ ─┴─────────────────┘
//
// Programs and user code change values in place. Operations of the control
// side and ProgUpdate are atomic towards each other; a program that writes
// through an address shares whole words with them. A value of one word needs no
// lock for that.
type Array struct {
	*core
	data  *mem.Block
	base  uint64
	size  uint64  // of an element
	word  uintptr // the size of a value that one load or store moves, else 0
	locks lockStripes
}

// checkArray follows array_map_alloc_check.
func checkArray(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if e := rowAllows(row, def); e != 0 {
		return e
	}
	perCPU := row.Traits&catalog.PerCPU != 0
	if def.ValueSize > math.MaxInt32 || perCPU && round8(def.ValueSize) > perCPUUnitMin {
		return errno.E2BIG
	}
	return 0
}

func newArray(c *core) (Map, errno.Errno) {
	total := arrayBytes(&c.def)
	if total > maxMapBytes {
		return nil, errno.ENOMEM
	}
	alloc := mem.Alloc
	if c.cfg.Share && c.def.Flags&catalog.FlagMmapable != 0 {
		alloc = mem.AllocShared
	}
	data, err := alloc(int(total))
	if err != nil {
		return nil, errno.ENOMEM
	}
	m, e := arrayOver(c, data)
	if e == 0 && c.def.Flags&catalog.FlagRdonlyProg != 0 {
		data.Seal() // user space cannot map it to write (bpf_map_mmap)
		m.def.ReadConst = m.readConst
	}
	return m, e
}

// arrayBytes is how long the values of an array are.
func arrayBytes(def *catalog.MapDef) uint64 {
	return uint64(round8(def.ValueSize)) * uint64(def.MaxEntries)
}

// arrayOver makes an array of its values, which become its own, even if it fails.
func arrayOver(c *core, data *mem.Block) (*Array, errno.Errno) {
	m := &Array{core: c, size: uint64(round8(c.def.ValueSize))}
	if n := c.def.ValueSize; (n == 4 || n == 8) && len(c.def.Special) == 0 {
		m.word = uintptr(n)
	}
	if e := m.newHeader(); e != 0 {
		data.Free()
		return nil, e
	}
	m.data, m.base = data, data.Addr()
	m.def.ValueBase = m.base
	mem.Store64(m.def.Ptr+HeaderBase, m.base)
	mem.Store32(m.def.Ptr+HeaderElemSize, uint32(m.size))
	return m, 0
}

// maxMapBytes is the most memory one map may ask for.
const maxMapBytes = 1 << 46

func (m *Array) free() {
	for i := range uint64(m.def.MaxEntries) {
		if len(m.vals.special) == 0 {
			break
		}
		m.freeFields(m.base + i*m.size)
	}
	m.data.Free()
}

// Freeze also keeps other processes from mapping the values to write.
func (m *Array) Freeze() error {
	err := m.core.Freeze()
	if err == nil {
		m.data.Seal()
	}
	return err
}

// File is what other processes map the values by, or nil.
func (m *Array) File() *os.File { return m.data.File() }

// Memory returns the values as one slice, valid until the map is closed (the pages BPF_F_MMAPABLE offers to mmap).
func (m *Array) Memory() []byte { return m.data.Bytes() }

// readConst serves MapDef.ReadConst: what of value 0 the verifier may take for constant (bpf_map_is_rdonly).
func (m *Array) readConst(off uint32, buf []byte) bool {
	if !m.frozen.Load() || m.writers.Load() != 0 || uint64(off)+uint64(len(buf)) > uint64(m.def.ValueSize) {
		return false
	}
	copy(buf, m.data.Bytes()[off:])
	return true
}

// at returns the address of value i.
func (m *Array) at(i uint32) uint64 { return m.base + uint64(i)*m.size }

// ProgLookup follows array_map_lookup_elem.
func (m *Array) ProgLookup(_ int, key uint64) uint64 {
	i := mem.Load32(key)
	if i >= m.def.MaxEntries {
		return 0
	}
	return m.at(i)
}

// ProgUpdate follows array_map_update_elem.
func (m *Array) ProgUpdate(_ int, key, value, flags uint64) uint64 {
	return ret(m.set(mem.Load32(key), mem.Ptr(value), flags))
}

// ProgDelete is refused: array elements always exist.
func (m *Array) ProgDelete(int, uint64) uint64 { return ret(errno.EINVAL) }

// ProgNext walks the elements from 0 to the last.
func (m *Array) ProgNext(_ int, it Iter) (Iter, bool) {
	if it.pos >= m.def.MaxEntries {
		return it, false
	}
	mem.Store32(it.KeyBuf, it.pos)
	it.Key, it.Value = it.KeyBuf, m.at(it.pos)
	it.pos++
	return it, true
}

// arrayFlags checks the flags of an update of element i of n that always exist.
func arrayFlags(i, n uint32, flags uint64) errno.Errno {
	switch {
	case flags&^catalog.UpdateLock > catalog.UpdateExist:
		return errno.EINVAL
	case i >= n:
		return errno.E2BIG
	case flags&catalog.UpdateNoExist != 0:
		return errno.EEXIST
	}
	return 0
}

func (m *Array) set(i uint32, value unsafe.Pointer, flags uint64) errno.Errno {
	if e := arrayFlags(i, m.def.MaxEntries, flags); e != 0 {
		return e
	}
	if e := m.lockable(flags); e != 0 {
		return e
	}
	at := mem.Ptr(m.at(i))
	switch m.word {
	case 8:
		mem.StoreRelease((*atomic.Uint64)(at), binary.NativeEndian.Uint64((*[8]byte)(value)[:]))
		return 0
	case 4:
		mem.StoreRelease32((*uint32)(at), binary.NativeEndian.Uint32((*[4]byte)(value)[:]))
		return 0
	}
	l := m.locks.of(i)
	l.Lock()
	if flags&catalog.UpdateLock != 0 {
		m.vals.copyLocked(at, value, at)
	} else {
		m.vals.copy(at, value)
	}
	l.Unlock()
	m.freeFields(m.at(i))
	return 0
}

func (m *Array) lookup(key, value []byte, flags uint64) errno.Errno {
	i := index(key)
	if i >= m.def.MaxEntries {
		return errno.ENOENT
	}
	at := mem.Ptr(m.at(i))
	if m.word != 0 {
		loadWords(ptr(value), at, m.word)
		return 0
	}
	l := m.locks.of(i)
	if m.vals.plain() {
		n := l.begin()
		if loadWords(ptr(value), at, uintptr(m.vals.size)); l.same(n) {
			return 0
		}
	}
	l.Lock()
	if flags&catalog.UpdateLock != 0 {
		m.vals.copyLocked(ptr(value), at, at)
	} else {
		m.vals.copy(ptr(value), at)
	}
	l.Unlock()
	m.vals.hide(ptr(value))
	return 0
}

func (m *Array) update(key, value []byte, flags uint64) errno.Errno {
	return m.set(index(key), ptr(value), flags)
}

func (m *Array) delete([]byte) errno.Errno { return errno.EINVAL }

func (m *Array) nextKey(key, next []byte) errno.Errno { return nextIndex(key, next, m.def.MaxEntries) }
