package maps

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

func init() {
	bind(catalog.MapStructOps, kind{check: checkStructOps, make: newStructOps})
}

// opsState is where a struct_ops map is on its way (enum bpf_struct_ops_state).
//
//	         update            delete
//	init ────────────▶ inUse ─────────▶ tobeFree
//	  └──────────────▶ ready   with BPF_F_LINK: links register it, any number one after the other
type opsState uint32

const (
	opsInit opsState = iota
	opsInUse
	opsTobeFree
	opsReady
)

// StructOps is BPF_MAP_TYPE_STRUCT_OPS: one kernel structure, of whose function pointers
// programs are the functions. The value begins with
//
//	┌────────┬───────┬── ─ ─ ─┬──────────────────── ─ ─
//	│ refcnt │ state │        │ the structure at Ops.Data
//	└────────┴───────┴── ─ ─ ─┴──────────────────── ─ ─
//	0        4       8
type StructOps struct {
	*core
	opaque
	mu    sync.Mutex
	state opsState
	value []byte // as user space gave it, with ids in place of descriptors
	progs map[string]Prog
	uses  int // registrations
}

// OpsTable is the structures that are registered with a machine.
type OpsTable struct {
	mu  sync.Mutex
	all []*StructOps
}

// Registered returns the maps whose structures of a name are registered, in order.
func (t *OpsTable) Registered(structure string) []*StructOps {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []*StructOps
	for _, m := range t.all {
		if m.def.Ops.Row.Name == structure {
			found = append(found, m)
		}
	}
	return found
}

// add registers m, in place of old if that is not nil: a name has one structure.
func (t *OpsTable) add(m, old *StructOps) errno.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, name := m.def.Ops.Row, m.Name()
	for _, o := range t.all {
		if o != old && row.NameField != "" && o.def.Ops.Row == row && o.Name() == name {
			return errno.EEXIST
		}
	}
	if slices.Contains(row.TakenNames, name) {
		return errno.EEXIST
	}
	t.all = append(t.all, m)
	return 0
}

func (t *OpsTable) remove(m *StructOps) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.all, m); i >= 0 {
		t.all = slices.Delete(t.all, i, i+1)
	}
}

// checkStructOps follows bpf_struct_ops_map_alloc_check; what the structure is comes later.
func checkStructOps(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if !flagsOK(row, def.Flags) || !row.KeySize.OK(def.KeySize) || !row.MaxEntries.OK(def.MaxEntries) {
		return errno.EINVAL
	}
	return 0
}

func newStructOps(c *core) (Map, errno.Errno) {
	if c.def.Ops == nil || c.def.ValueSize != c.def.Ops.Value.Size {
		return nil, errno.EINVAL
	}
	return &StructOps{core: c, value: make([]byte, c.def.ValueSize)}, c.newHeader()
}

// Prog returns the program of a member, or nil. It stays the map's.
func (m *StructOps) Prog(member string) Prog {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.progs[member]
}

// Take returns the program of a member with a reference for the caller, or nil.
func (m *StructOps) Take(member string) Prog {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.progs[member]
	if p != nil {
		p.Acquire()
	}
	return p
}

// Members are the names of those that programs implement, in the structure's order.
func (m *StructOps) Members() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.def.Ops.Struct.Members {
		if m.progs[f.Name] != nil {
			names = append(names, f.Name)
		}
	}
	return names
}

// Name is what the structure is registered as, where its kind has names.
func (m *StructOps) Name() string {
	at, ok := m.field(m.def.Ops.Row.NameField)
	if !ok {
		return ""
	}
	name, _, _ := bytes.Cut(m.value[at:], []byte{0})
	return string(name)
}

// field returns where in the value a member of the structure lies.
func (m *StructOps) field(name string) (uint32, bool) {
	for _, f := range m.def.Ops.Struct.Members {
		if f.Name == name && name != "" {
			return m.def.Ops.Data + f.Offset.Bytes(), true
		}
	}
	return 0, false
}

func (m *StructOps) release() { m.forget() }

// forget gives the programs back.
func (m *StructOps) forget() {
	for _, p := range m.progs {
		p.Close()
	}
	m.progs = nil
	clear(m.value)
}

func (m *StructOps) free() {}

// lookup follows bpf_struct_ops_map_sys_lookup_elem.
func (m *StructOps) lookup(key, value []byte, _ uint64) errno.Errno {
	if index(key) != 0 {
		return errno.ENOENT
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(value, m.value)
	if m.state != opsInit {
		binary.NativeEndian.PutUint32(value, uint32(m.uses))
		binary.NativeEndian.PutUint32(value[4:], uint32(m.state))
	}
	return 0
}

// update follows bpf_struct_ops_map_update_elem: the value is set once, and registered unless links do that.
func (m *StructOps) update(key, value []byte, flags uint64) errno.Errno {
	switch {
	case flags != catalog.UpdateAny:
		return errno.EINVAL
	case index(key) != 0:
		return errno.E2BIG
	case binary.NativeEndian.Uint64(value) != 0: // refcnt and state
		return errno.EINVAL
	}
	ops := m.def.Ops
	data := value[ops.Data:][:ops.Struct.Size]
	if !zeroHoles(ops.Value, value) || !zeroHoles(ops.Struct, data) {
		return errno.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != opsInit {
		return errno.EBUSY
	}
	copy(m.value, value)
	m.progs = map[string]Prog{}
	e := m.fill(data)
	if e == 0 && m.def.Flags&catalog.FlagLink != 0 {
		m.state = opsReady
		return 0
	}
	if e == 0 {
		e = m.cfg.Ops.add(m, nil)
	}
	if e != 0 {
		m.forget()
		return e
	}
	m.Acquire() // the registration's
	m.state, m.uses = opsInUse, 1
	return 0
}

// fill goes through the members: programs, and what the structure's row allows besides.
func (m *StructOps) fill(data []byte) errno.Errno {
	ops := m.def.Ops
	row := ops.Row
	for i := range ops.Struct.Members {
		f := &ops.Struct.Members[i]
		size, err := btf.Sizeof(f.Type)
		if err != nil {
			return errno.EINVAL
		}
		at := f.Offset.Bytes()
		bytesOf := data[at:][:size]
		switch {
		case isModule(f.Type):
		case row.Unsupported != 0:
			return row.Unsupported
		case f.Name == row.FlagsField:
			if binary.NativeEndian.Uint32(bytesOf)&^row.FlagsMask != 0 {
				return errno.EINVAL
			}
			continue
		case f.Name == row.NameField:
			if name, ok := catalog.ObjName(bytesOf); !ok || name == "" {
				return errno.EINVAL
			}
			continue
		case catalog.IsFunc(f.Type):
			id := binary.NativeEndian.Uint64(bytesOf)
			if id == 0 {
				continue
			}
			if e := m.implement(f.Name, i, uint32(id)); e != 0 {
				return e
			}
			binary.NativeEndian.PutUint64(m.value[ops.Data+at:], uint64(m.progs[f.Name].ID()))
			continue
		}
		if len(bytes.Trim(bytesOf, "\x00")) != 0 {
			return errno.EINVAL
		}
	}
	for _, any := range row.Needs {
		if !slices.ContainsFunc(any, func(member string) bool { return m.progs[member] != nil }) {
			return errno.EINVAL
		}
	}
	return 0
}

// Implementer is a [Prog] that can be a member of a structure.
type Implementer interface {
	// Implements reports whether the program was loaded for the member of this number of a kernel type.
	Implements(structure uint32, member int) bool
}

// implement makes the program with a descriptor the one of a member.
func (m *StructOps) implement(name string, member int, fd uint32) errno.Errno {
	if m.cfg.Prog == nil {
		return errno.EBADF
	}
	p, err := m.cfg.Prog(fd)
	if err != nil {
		return asErrno(err)
	}
	if i, ok := p.(Implementer); !ok || p.Owner().Type != catalog.ProgStructOps || !i.Implements(uint32(m.def.Ops.StructID), member) {
		p.Close()
		return errno.EINVAL
	}
	m.progs[name] = p
	return 0
}

// delete follows bpf_struct_ops_map_delete_elem: the structure is registered no more.
func (m *StructOps) delete([]byte) errno.Errno {
	if m.def.Flags&catalog.FlagLink != 0 {
		return errno.EOPNOTSUPP
	}
	m.mu.Lock()
	state := m.state
	if state == opsInUse {
		m.state, m.uses = opsTobeFree, 0
	}
	m.mu.Unlock()
	switch state {
	case opsInUse:
		m.cfg.Ops.remove(m)
		m.Close()
		return 0
	case opsTobeFree:
		return errno.EINPROGRESS
	case opsInit:
		return errno.ENOENT
	}
	return errno.EINVAL
}

func (m *StructOps) nextKey(key, next []byte) errno.Errno { return nextIndex(key, next, 1) }

// Ready reports whether a link may register the structure (bpf_struct_ops_valid_to_reg).
func (m *StructOps) Ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state == opsReady
}

// Register registers the structure for a link, in place of old's if that is not
// nil. The link keeps a reference to the map.
func (m *StructOps) Register(old *StructOps) errno.Errno {
	row := m.def.Ops.Row
	if old != nil {
		switch {
		case !row.Updates:
			return errno.EOPNOTSUPP
		case old.def.Ops.Row != row:
			return errno.EINVAL
		case old.Name() != m.Name():
			return errno.EINVAL
		}
	}
	if e := m.cfg.Ops.add(m, old); e != 0 {
		return e
	}
	if old != nil {
		old.Unregister()
	}
	m.use(1)
	return 0
}

// Unregister takes Register back.
func (m *StructOps) Unregister() {
	m.cfg.Ops.remove(m)
	m.use(-1)
}

func (m *StructOps) use(n int) {
	m.mu.Lock()
	m.uses += n
	m.mu.Unlock()
}

// zeroHoles reports whether nothing lies between the members (check_zero_holes).
func zeroHoles(t *btf.Struct, data []byte) bool {
	end := uint32(0)
	for _, m := range t.Members {
		n, err := btf.Sizeof(m.Type)
		if err != nil {
			return false
		}
		at := m.Offset.Bytes()
		if at > end && len(bytes.Trim(data[end:at], "\x00")) != 0 {
			return false
		}
		end = at + uint32(n)
	}
	return end >= t.Size || len(bytes.Trim(data[end:t.Size], "\x00")) == 0
}

// isModule reports whether a member points to the module that a structure is of.
func isModule(t btf.Type) bool {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return false
	}
	s, ok := btf.UnderlyingType(p.Target).(*btf.Struct)
	return ok && s.Name == "module"
}
