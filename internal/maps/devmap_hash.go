package maps

import (
	"sync"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func init() {
	bind(catalog.MapDevMapHash, kind{check: checkDevMapHash, settle: settleDevMap, make: newDevMapHash})
}

// DevMapHash is BPF_MAP_TYPE_DEVMAP_HASH: a [DevMap] by any number. It is a
// [table] with the key itself for a hash, values as in DevMap.
type DevMapHash struct {
	*core
	noUpdate
	sharing
	t     *table
	mu    sync.Mutex // writers
	items uint32
	progs map[uint32]*Prog // by key
}

// checkDevMapHash follows dev_map_alloc_check.
func checkDevMapHash(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if def.MaxEntries > 1<<31 {
		return errno.EINVAL
	}
	return rowAllows(row, def)
}

func newDevMapHash(c *core) (Map, errno.Errno) {
	m := &DevMapHash{core: c, progs: make(map[uint32]*Prog)}
	t, e := newTable(c.def.MaxEntries, hashReserve(c.def.MaxEntries), 4, 8, 0, c.cfg.Epoch)
	if e != 0 {
		return nil, e
	}
	if e := c.newHeader(); e != 0 {
		t.block.Free()
		return nil, e
	}
	m.t = t
	c.setTableHeader(t)
	return m, 0
}

// keyHash is the key itself.
func keyHash(key unsafe.Pointer) uint32 { return *(*uint32)(key) }

func (m *DevMapHash) release() {
	for _, p := range m.progs {
		closeProg(p)
	}
}

func (m *DevMapHash) free() { m.t.block.Free() }

func (m *DevMapHash) find(key uint32) uint32 { return m.t.find(unsafe.Pointer(&key), key) }

// entry returns what programs see of element i.
func (m *DevMapHash) entry(i uint32) uint64 { return mem.Load64(m.t.value(i)) }

// Target returns the device and program at key.
func (m *DevMapHash) Target(key uint32) (Target, bool) {
	i := m.find(key)
	if i == none {
		return Target{}, false
	}
	e := m.entry(i)
	t := Target{Ifindex: uint32(e)}
	if e>>32 != 0 {
		m.mu.Lock()
		if p := m.progs[key]; p != nil {
			t.Prog = *p
		}
		m.mu.Unlock()
	}
	return t, true
}

// Targets walks the entries bucket by bucket.
func (m *DevMapHash) Targets(f func(key uint32, t Target) bool) {
	for it, ok := m.t.progNext(Iter{}); ok; it, ok = m.t.progNext(it) {
		key := mem.Load32(it.Key)
		if t, ok := m.Target(key); ok && !f(key, t) {
			return
		}
	}
}

// ProgLookup returns the address of an entry (dev_map_hash_lookup_elem).
func (m *DevMapHash) ProgLookup(_ int, key uint64) uint64 {
	if i := m.find(mem.Load32(key)); i != none {
		return m.t.value(i)
	}
	return 0
}

// ProgDelete follows dev_map_hash_delete_elem.
func (m *DevMapHash) ProgDelete(_ int, key uint64) uint64 { return ret(m.remove(mem.Load32(key))) }

func (m *DevMapHash) lookup(key, value []byte, _ uint64) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(index(key))
	if i == none {
		return errno.ENOENT
	}
	putVal(value, m.entry(i))
	return 0
}

// update follows __dev_map_hash_update_elem, which never asks whether BPF_EXIST holds.
func (m *DevMapHash) update(key, value []byte, flags uint64) errno.Errno {
	k := index(key)
	ifindex, fd := devVal(value)
	if flags > catalog.UpdateExist || ifindex == 0 {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.find(k)
	if old != none && flags == catalog.UpdateNoExist {
		return errno.EEXIST
	}
	p, e := m.resolveDevice(&m.sharing, ifindex, fd)
	if e != 0 {
		return e
	}
	if old == none && m.items == m.def.MaxEntries {
		closeProg(p)
		return errno.E2BIG
	}
	i := m.t.pool.get()
	if i == none {
		closeProg(p)
		return errno.ENOMEM
	}
	l := m.t.lock(k)
	l.Lock()
	m.t.fill(i, ptr(key), k)
	mem.Store64(m.t.value(i), devEntry(ifindex, p))
	m.t.link(i)
	if old != none {
		m.t.unlink(old)
	}
	l.Unlock()
	closeProg(m.progs[k])
	delete(m.progs, k)
	if p != nil {
		m.progs[k] = p
	}
	if old != none {
		m.t.pool.giveBack(old)
	} else {
		m.items++
	}
	return 0
}

func (m *DevMapHash) remove(k uint32) errno.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(k)
	if i == none {
		return errno.ENOENT
	}
	l := m.t.lock(k)
	l.Lock()
	m.t.unlink(i)
	l.Unlock()
	m.t.pool.giveBack(i)
	m.items--
	closeProg(m.progs[k])
	delete(m.progs, k)
	return 0
}

func (m *DevMapHash) delete(key []byte) errno.Errno { return m.remove(index(key)) }

func (m *DevMapHash) nextKey(key, next []byte) errno.Errno { return m.t.nextKey(key, next, keyHash) }
