package maps

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapLPMTrie, kind{check: checkLPM, make: newLPM})
}

// LPMTrie is BPF_MAP_TYPE_LPM_TRIE: a binary trie of prefixes with runs of
// single-child nodes left out. A key is a prefix length in bits, then data, most
// significant bit first. Nodes lie off-heap; children are node numbers.
//
//	┌─────────┬─────────┬────────┬───────┬─────── ─ ─┬───────── ─ ─┐
//	│ child 0 │ child 1 │ prefix │ flags │ data      │ value       │
//	└─────────┴─────────┴────────┴───────┴─────── ─ ─┴───────── ─ ─┘
//	 0         4         8        12      16          16 + data, rounded to 8
//
// A child's prefix continues its parent's with bit 0 or 1. Where two prefixes
// part, a node without a value, marked by lpmInner, stands between them; it always has two
// children. Programs look up without a lock; writers replace nodes, and a replaced
// node is not used again before every program that runs is done.
type LPMTrie struct {
	*core
	block    *mem.Block
	nodes    uint64 // address of node 0
	size     uint64 // of a node
	valOff   uint64
	root     *uint32 // link to the root; HeaderBuckets points at it
	dataSize uint32
	maxBits  uint32

	index   lpmIndex // none where tries are small
	mu      sync.Mutex
	pool    pool
	entries uint32
	indexed bool // the index is filled
}

// Layout of a node.
const (
	LPMChild  = 0
	LPMPrefix = 8
	LPMFlags  = 12
	LPMData   = 16
	lpmInner  = 1 // flag: no value here

	lpmKeyHead = 4 // bytes of the prefix length in a key
	lpmMaxData = 256
	lpmNoChild = none

	kernelLPMNode = 24 // sizeof(struct lpm_trie_node)
)

// checkLPM follows trie_alloc.
func checkLPM(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if def.ValueSize > kmallocMax-lpmMaxData-kernelLPMNode {
		return errno.EINVAL
	}
	return rowAllows(row, def)
}

// lpmMaxBytes bounds the address space of one trie, not its memory.
const lpmMaxBytes = 1 << 42

func newLPM(c *core) (Map, errno.Errno) {
	m := &LPMTrie{core: c, dataSize: c.def.KeySize - lpmKeyHead}
	m.maxBits = m.dataSize * 8
	m.valOff = LPMData + uint64(round8(m.dataSize))
	m.size = m.valOff + uint64(round8(c.def.ValueSize))
	count := 2*uint64(c.def.MaxEntries) + uint64(hashReserve(c.def.MaxEntries))
	count = min(count, lpmMaxBytes/m.size, uint64(none)-1)
	b, err := mem.Alloc(int(8 + count*m.size + ringBytes(count)))
	if err != nil {
		return nil, errno.ENOMEM
	}
	e := errno.Errno(0)
	if m.maxBits >= LPMIndexBits && c.def.MaxEntries >= lpmIndexMax {
		e = m.index.open()
	}
	if e == 0 {
		e = c.newHeader()
	}
	if e != 0 {
		b.Free()
		m.index.free()
		return nil, e
	}
	m.block, m.nodes = b, b.Addr()+8
	m.root = (*uint32)(mem.Ptr(b.Addr()))
	*m.root = lpmNoChild
	m.pool = newPool(m.nodes+count*m.size, uint32(count), c.cfg.Epoch)
	m.pool.patient = true
	mem.Store64(c.def.Ptr+HeaderBase, m.nodes)
	mem.Store32(c.def.Ptr+HeaderElemSize, uint32(m.size))
	mem.Store64(c.def.Ptr+HeaderBuckets, b.Addr())
	mem.Store32(c.def.Ptr+HeaderValueOff, uint32(m.valOff))
	if m.index.block != nil {
		mem.Store64(c.def.Ptr+HeaderPerCPU, m.index.block.Addr())
	}
	return m, 0
}

func (m *LPMTrie) free() {
	m.block.Free()
	m.index.free()
}

// child, prefix, flags and data give the parts of node n.
func (m *LPMTrie) child(n, bit uint32) *uint32 {
	return (*uint32)(mem.Ptr(m.nodes + uint64(n)*m.size + LPMChild + uint64(bit)*4))
}

func (m *LPMTrie) prefix(n uint32) *uint32 {
	return (*uint32)(mem.Ptr(m.nodes + uint64(n)*m.size + LPMPrefix))
}

func (m *LPMTrie) flags(n uint32) *uint32 {
	return (*uint32)(mem.Ptr(m.nodes + uint64(n)*m.size + LPMFlags))
}

func (m *LPMTrie) data(n uint32) unsafe.Pointer {
	return mem.Ptr(m.nodes + uint64(n)*m.size + LPMData)
}

func (m *LPMTrie) value(n uint32) uint64 { return m.nodes + uint64(n)*m.size + m.valOff }

// bitAt returns bit i of data, counted from the most significant of the first byte.
func bitAt(data unsafe.Pointer, i uint32) uint32 {
	return uint32(*(*byte)(unsafe.Add(data, i/8))>>(7-i%8)) & 1
}

// match returns how many leading bits node and key share, at most the prefix
// length of either (longest_prefix_match).
func (m *LPMTrie) match(n uint32, data unsafe.Pointer, length uint32) uint32 {
	limit := min(*m.prefix(n), length)
	node := m.data(n)
	i := uint32(0)
	for ; i+8 <= m.dataSize; i += 8 {
		diff := bits.ReverseBytes64(*(*uint64)(unsafe.Add(node, i)) ^ *(*uint64)(unsafe.Add(data, i)))
		if diff != 0 || i*8+64 >= limit {
			return min(limit, i*8+uint32(bits.LeadingZeros64(diff)))
		}
	}
	if i+4 <= m.dataSize {
		diff := bits.ReverseBytes32(*(*uint32)(unsafe.Add(node, i)) ^ *(*uint32)(unsafe.Add(data, i)))
		if diff != 0 || i*8+32 >= limit {
			return min(limit, i*8+uint32(bits.LeadingZeros32(diff)))
		}
		i += 4
	}
	for ; i < m.dataSize; i++ {
		diff := *(*byte)(unsafe.Add(node, i)) ^ *(*byte)(unsafe.Add(data, i))
		if diff != 0 || i*8+8 >= limit {
			return min(limit, i*8+uint32(bits.LeadingZeros8(diff)))
		}
	}
	return limit
}

// longest returns the node with the longest prefix of the key, or none (trie_lookup_elem).
func (m *LPMTrie) longest(key unsafe.Pointer) uint32 {
	length, data := *(*uint32)(key), unsafe.Add(key, lpmKeyHead)
	if length > m.maxBits {
		return none
	}
	found, n, ok := none, none, false
	if m.index.block != nil && length >= LPMIndexBits {
		found, n, ok = m.index.start(data)
	}
	if !ok {
		found, n = none, atomic.LoadUint32(m.root)
	}
	for n != lpmNoChild {
		got := m.match(n, data, length)
		if got == m.maxBits {
			return n
		}
		prefix := *m.prefix(n)
		if got < prefix {
			break
		}
		if atomic.LoadUint32(m.flags(n))&lpmInner == 0 {
			found = n
		}
		n = atomic.LoadUint32(m.child(n, bitAt(data, prefix)))
	}
	return found
}

// ProgLookup returns the value of the longest prefix that matches.
func (m *LPMTrie) ProgLookup(_ int, key uint64) uint64 {
	if n := m.longest(mem.Ptr(key)); n != none {
		return m.value(n)
	}
	return 0
}

// ProgUpdate follows trie_update_elem.
func (m *LPMTrie) ProgUpdate(_ int, key, value, flags uint64) uint64 {
	return ret(m.set(mem.Ptr(key), mem.Ptr(value), flags))
}

// ProgDelete follows trie_delete_elem.
func (m *LPMTrie) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Ptr(key))) }

// add counts an entry more, if the flags and max_entries let it.
func (m *LPMTrie) add(flags uint64) errno.Errno {
	if flags == catalog.UpdateExist {
		return errno.ENOENT
	}
	if m.entries == m.def.MaxEntries {
		return errno.ENOSPC
	}
	m.entries++
	return 0
}

func (m *LPMTrie) set(key, value unsafe.Pointer, flags uint64) errno.Errno {
	length, data := *(*uint32)(key), unsafe.Add(key, lpmKeyHead)
	if flags > catalog.UpdateExist || length > m.maxBits {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := m.pool.get()
	if fresh == none {
		return errno.ENOMEM
	}
	m.fill(fresh, length, 0, data)
	m.vals.copy(mem.Ptr(m.value(fresh)), value)
	e := m.insert(fresh, length, data, flags)
	if e != 0 {
		m.pool.giveBack(fresh)
	}
	return e
}

// fill writes a node nobody can reach yet.
func (m *LPMTrie) fill(n, length, flags uint32, data unsafe.Pointer) {
	*m.child(n, 0), *m.child(n, 1) = lpmNoChild, lpmNoChild
	*m.prefix(n), *m.flags(n) = length, flags
	copyWords(m.data(n), data, uintptr(m.dataSize))
}

// insert puts the new node into the trie.
func (m *LPMTrie) insert(fresh, length uint32, data unsafe.Pointer, flags uint64) errno.Errno {
	at, n, got := m.root, none, uint32(0)
	way := uint32(0) // how many bits lead to at
	for n = *at; n != none; n = *at {
		got = m.match(n, data, length)
		if p := *m.prefix(n); p != got || p == length || p == m.maxBits {
			break
		}
		at = m.child(n, bitAt(data, *m.prefix(n)))
		way = *m.prefix(n) + 1
	}
	m.change()
	defer m.changed(data, way)
	if n == none {
		e := m.add(flags)
		if e == 0 {
			atomic.StoreUint32(at, fresh)
		}
		return e
	}
	if *m.prefix(n) == got { // the very prefix is there, with a value or as an inner node
		if *m.flags(n)&lpmInner != 0 {
			if e := m.add(flags); e != 0 {
				return e
			}
		} else if flags == catalog.UpdateNoExist {
			return errno.EEXIST
		}
		*m.child(fresh, 0), *m.child(fresh, 1) = *m.child(n, 0), *m.child(n, 1)
		atomic.StoreUint32(at, fresh)
		m.pool.giveBack(n)
		return 0
	}
	if e := m.add(flags); e != 0 {
		return e
	}
	if got == length { // the new prefix contains n's
		*m.child(fresh, bitAt(m.data(n), got)) = n
		atomic.StoreUint32(at, fresh)
		return 0
	}
	inner := m.pool.get()
	if inner == none {
		m.entries--
		return errno.ENOMEM
	}
	m.fill(inner, got, lpmInner, m.data(n))
	bit := bitAt(data, got)
	*m.child(inner, bit), *m.child(inner, 1-bit) = fresh, n
	atomic.StoreUint32(at, inner)
	return 0
}

func (m *LPMTrie) remove(key unsafe.Pointer) errno.Errno {
	length, data := *(*uint32)(key), unsafe.Add(key, lpmKeyHead)
	if length > m.maxBits {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at, above := m.root, m.root // links to n and to its parent
	n, parent, got := none, none, uint32(0)
	way, wayAbove := uint32(0), uint32(0) // how many bits lead to them
	for n = *at; n != none; n = *at {
		got = m.match(n, data, length)
		if p := *m.prefix(n); p != got || p == length {
			break
		}
		parent, above, wayAbove = n, at, way
		at = m.child(n, bitAt(data, *m.prefix(n)))
		way = *m.prefix(n) + 1
	}
	if n == none || *m.prefix(n) != length || *m.prefix(n) != got || *m.flags(n)&lpmInner != 0 {
		return errno.ENOENT
	}
	m.entries--
	m.change()
	defer m.changed(data, wayAbove)
	left, right := *m.child(n, 0), *m.child(n, 1)
	switch {
	case left != none && right != none: // still needed to part its children
		atomic.StoreUint32(m.flags(n), lpmInner)
	case left == none && right == none && parent != none && *m.flags(parent)&lpmInner != 0:
		// The parent stood only between n and its sibling.
		sibling := *m.child(parent, 0)
		if sibling == n {
			sibling = *m.child(parent, 1)
		}
		atomic.StoreUint32(above, sibling)
		m.pool.giveBack(parent)
		m.pool.giveBack(n)
	default:
		if left == none {
			left = right
		}
		atomic.StoreUint32(at, left)
		m.pool.giveBack(n)
	}
	return 0
}

func (m *LPMTrie) lookup(key, value []byte, _ uint64) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.longest(ptr(key))
	if n == none {
		return errno.ENOENT
	}
	m.vals.copy(ptr(value), mem.Ptr(m.value(n)))
	return 0
}

func (m *LPMTrie) update(key, value []byte, flags uint64) errno.Errno {
	return m.set(ptr(key), ptr(value), flags)
}

func (m *LPMTrie) delete(key []byte) errno.Errno { return m.remove(ptr(key)) }

// nextKey walks in postorder, so that longer prefixes come before the shorter
// ones that contain them; a key that is not there starts over (trie_get_next_key).
func (m *LPMTrie) nextKey(key, next []byte) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *m.root == none {
		return errno.ENOENT
	}
	from := *m.root
	if path := m.path(key); path != nil {
		from = none
		for n := path[len(path)-1]; len(path) > 1 && from == none; n = path[len(path)-1] {
			path = path[:len(path)-1]
			parent := path[len(path)-1]
			if *m.child(parent, 0) == n && *m.child(parent, 1) != none {
				from = *m.child(parent, 1)
			} else if *m.flags(parent)&lpmInner == 0 {
				m.copyKey(parent, next)
				return 0
			}
		}
		if from == none {
			return errno.ENOENT
		}
	}
	m.copyKey(m.leftmost(from), next)
	return 0
}

// path returns the nodes from the root to the one that holds key, or nil.
func (m *LPMTrie) path(key []byte) []uint32 {
	if key == nil {
		return nil
	}
	length, data := *(*uint32)(ptr(key)), unsafe.Add(ptr(key), lpmKeyHead)
	if length > m.maxBits {
		return nil
	}
	var path []uint32
	for n := *m.root; n != none; {
		path = append(path, n)
		got, p := m.match(n, data, length), *m.prefix(n)
		if p != got || p == length {
			if p != got || *m.flags(n)&lpmInner != 0 {
				return nil
			}
			return path
		}
		n = *m.child(n, bitAt(data, p))
	}
	return nil
}

// leftmost returns the node with a value that comes first in postorder under n.
func (m *LPMTrie) leftmost(n uint32) uint32 {
	for {
		next := *m.child(n, 0)
		if next == none {
			next = *m.child(n, 1)
		}
		if next == none {
			return n
		}
		n = next
	}
}

// copyKey writes a node's prefix as a key.
func (m *LPMTrie) copyKey(n uint32, key []byte) {
	*(*uint32)(ptr(key)) = *m.prefix(n)
	copy(key[lpmKeyHead:], unsafe.Slice((*byte)(m.data(n)), m.dataSize))
}
