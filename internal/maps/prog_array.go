package maps

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

func init() {
	bind(catalog.MapProgArray, kind{make: newProgArray})
}

// ProgArray is BPF_MAP_TYPE_PROG_ARRAY: the programs tail calls jump to.
type ProgArray struct {
	*core
	opaque
	sharing
	progs []atomic.Pointer[Prog]
	// slots are what native code goes by: the programs' targets.
	slots   slots
	setting sync.Mutex // progs and slots change together
}

// sharing remembers what the programs of one map have in common (map->owner).
type sharing struct {
	mu    sync.Mutex
	known bool
	owner ProgOwner
}

// share reports whether a program may use the map or sit in it. The first one
// decides for all that follow. attach says whether attach types must agree too.
func (s *sharing) share(o ProgOwner, attach bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		s.known, s.owner = true, o
		return true
	}
	was := s.owner
	if !attach {
		was.Attach = o.Attach
	}
	return was == o
}

func newProgArray(c *core) (Map, errno.Errno) {
	if c.def.MaxEntries > maxPointers {
		return nil, errno.ENOMEM
	}
	m := &ProgArray{core: c, progs: make([]atomic.Pointer[Prog], c.def.MaxEntries)}
	return m, m.slots.open(c)
}

// Compatible reports whether a program that calls through the map may be
// loaded (bpf_check_tail_call): all programs in and around one prog_array are alike.
func (m *ProgArray) Compatible(o ProgOwner) bool { return m.share(o, true) }

// Prog returns the program at index, or nil: what bpf_tail_call goes to. The
// caller is inside an epoch, so the program stays loaded for its run.
func (m *ProgArray) Prog(index uint32) Prog {
	if index >= uint32(len(m.progs)) {
		return nil
	}
	if p := m.progs[index].Load(); p != nil {
		return *p
	}
	return nil
}

// Set puts p at index, taking the reference over; nil empties the entry.
func (m *ProgArray) Set(index uint32, p Prog) error {
	if index >= m.def.MaxEntries {
		return errno.E2BIG
	}
	if p != nil && (p.Owner().Type == catalog.ProgExt || !m.share(p.Owner(), true)) {
		return errno.EINVAL
	}
	if p != nil && !p.Enter() {
		return errno.EBUSY
	}
	m.swap(index, p)
	return nil
}

// Retarget has native code go to what a program's target is now.
func (m *ProgArray) Retarget(p Prog) {
	m.setting.Lock()
	defer m.setting.Unlock()
	for i := range m.progs {
		if at := m.progs[i].Load(); at != nil && *at == p {
			m.slots.set(uint32(i), p.Target())
		}
	}
}

// Clear empties the map: when the last descriptor of a prog_array goes, its
// programs do too, else a map and its programs would hold each other (prog_array_map_clear).
func (m *ProgArray) Clear() {
	for i := range m.progs {
		m.swap(uint32(i), nil)
	}
}

// swap exchanges an entry and closes what was there; it reports whether anything was.
func (m *ProgArray) swap(i uint32, p Prog) bool {
	var to *Prog
	var target uint64
	if p != nil {
		to, target = &p, p.Target()
	}
	m.setting.Lock()
	old := m.progs[i].Swap(to)
	m.slots.set(i, target)
	m.setting.Unlock()
	if old == nil {
		return false
	}
	(*old).Leave()
	(*old).Close()
	return true
}

func (m *ProgArray) release() { m.Clear() }

func (m *ProgArray) free() { m.slots.block.Free() }

// lookup gives the id of the program.
func (m *ProgArray) lookup(key, value []byte, _ uint64) errno.Errno {
	p := m.Prog(index(key))
	if p == nil {
		return errno.ENOENT
	}
	*(*uint32)(ptr(value)) = p.ID()
	return 0
}

// update follows bpf_fd_array_map_update_elem and prog_fd_array_get_ptr.
func (m *ProgArray) update(key, value []byte, flags uint64) errno.Errno {
	i, e := m.place(key, flags, catalog.UpdateAny)
	if e != 0 {
		return e
	}
	p, e := m.resolveProg(index(value))
	if e != 0 {
		return e
	}
	if err := m.Set(i, p); err != nil {
		p.Close()
		return asErrno(err)
	}
	return 0
}

// resolveProg turns a descriptor into a program.
func (c *core) resolveProg(fd uint32) (Prog, errno.Errno) {
	if c.cfg.Prog == nil {
		return nil, errno.EBADF
	}
	p, err := c.cfg.Prog(fd)
	if err != nil {
		return nil, asErrno(err)
	}
	return p, 0
}

func (m *ProgArray) delete(key []byte) errno.Errno {
	return m.empty(key, func(i uint32) bool { return m.swap(i, nil) })
}

func (m *ProgArray) nextKey(key, next []byte) errno.Errno {
	return nextIndex(key, next, m.def.MaxEntries)
}
