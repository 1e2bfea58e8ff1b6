package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// Sizes the kernel's allocators bound (x86-64 and arm64 with 4 KiB pages).
const (
	kmallocMax    = 4 << 20 // KMALLOC_MAX_SIZE
	perCPUUnitMin = 32 << 10
)

// Entries beyond which a type gives ENOMEM at once, as a kernel would on all
// but the largest machines: those kept as Go pointers, and those kept in other Go memory.
const (
	maxPointers = 1 << 24
	maxEagerLen = 1 << 27
)

// New makes a map (map_create). def gives type, sizes, flags, extra, name, BTF
// types and, for map-in-map types, Inner; New fills in the rest. Without def.Special the special
// fields are found in def.Value.
//
// The result is the map as the descriptor sees it that BPF_MAP_CREATE returns:
// with BPF_F_RDONLY or BPF_F_WRONLY among the flags it is a [Handle].
// Errors are those of the kernel, or an [UnsupportedError].
func New(cfg *Config, def catalog.MapDef) (Map, error) {
	if cfg == nil {
		cfg = new(Config)
	}
	row, e := CheckAny(&def, def.Key != nil, def.Value != nil)
	if e != 0 {
		return nil, e
	}
	k, access := kinds[def.Type], def.Flags&flagsFD
	if k == nil {
		return nil, &UnsupportedError{def.Type}
	}
	if e := k.refuse(row, &def); e != 0 {
		return nil, e
	}
	if !catalog.ValidName(def.Name) {
		return nil, errno.EINVAL
	}
	if e := settle(cfg, &def); e != 0 {
		return nil, e
	}
	if def.Value != nil {
		if e := row.Types.Allow(&def); e != 0 {
			return nil, e
		}
	}
	if def.Inner != nil {
		inner := *def.Inner
		inner.Ptr, inner.ValueBase, inner.ReadConst, inner.BTF = 0, 0, nil, nil // of the map it was taken from
		if e := settle(cfg, &inner); e != 0 {
			return nil, e
		}
		def.Inner = &inner
	}
	if cfg.Ops == nil && def.Ops != nil {
		own := *cfg
		own.Ops = new(OpsTable)
		cfg = &own
	}
	c := newCore(cfg, row, def)
	make := k.make
	if def.Shared {
		var err error
		if c.shm, err = newShm(c, k); err != nil {
			return nil, err
		}
		make = k.shared.make
	}
	m, err := c.build(make)
	if err != nil {
		if c.shm != nil {
			c.shm.close()
		}
		return nil, err
	}
	return Open(m, access)
}

// newCore makes the part that all types share.
func newCore(cfg *Config, row *catalog.MapKind, def catalog.MapDef) *core {
	return &core{def: def, row: row, cfg: cfg, vals: newValueLayout(&def)}
}

// build finishes a map whose core stands.
func (c *core) build(make func(*core) (Map, errno.Errno)) (Map, error) {
	c.refs.Store(1)
	c.valueSize = int(c.def.ValueSize)
	if c.row.Traits&catalog.PerCPU != 0 {
		c.valueSize = int(round8(c.def.ValueSize)) * c.cfg.cpus()
	}
	m, e := make(c)
	if e != 0 {
		return nil, e
	}
	c.impl = m.(impl)
	_, c.guards = m.(guard)
	if c.def.Ptr == 0 {
		panic("BUG: map made without a header")
	}
	c.setHeader()
	return m, nil
}

// CheckAny refuses what map_create refuses of maps of all types before it asks the
// type itself, and returns the type's row. key and value tell whether the map is told the types of its
// keys and values, which need not be found yet. Whatever is wrong is EINVAL.
func CheckAny(def *catalog.MapDef, key, value bool) (*catalog.MapKind, errno.Errno) {
	row := catalog.MapKindByType(def.Type)
	switch {
	case row == nil,
		key && !value,
		row.Owners != catalog.OwnersNone && !key,
		row.Traits&catalog.TakesExtra == 0 && def.Extra != 0,
		def.Flags&flagsFD == flagsFD:
		return nil, errno.EINVAL
	}
	return row, 0
}

// Check refuses sizes and flags as a type's map_alloc_check does, which comes
// before capabilities and descriptors are looked at. ENOTSUPP says that skep lacks the type.
func Check(def *catalog.MapDef) errno.Errno {
	k := kinds[def.Type]
	if k == nil {
		return errno.ENOTSUPP
	}
	row := catalog.MapKindByType(def.Type)
	if row.Holds == catalog.HoldsMaps { // whose inner map is looked at later
		return rowAllows(row, def)
	}
	return k.refuse(row, def)
}

// flagsFD are the flags of a descriptor, which a map does not keep.
const flagsFD = catalog.FlagRdonly | catalog.FlagWronly

// settle turns what was asked for into what the map has.
func settle(cfg *Config, def *catalog.MapDef) errno.Errno {
	if def.Special == nil && def.Value != nil {
		def.Special = mapFields(def.Value)
	}
	def.Flags &^= flagsFD
	if k := kinds[def.Type]; k != nil && k.settle != nil {
		k.settle(cfg, def)
	}
	return specialAllowed(def)
}

// refuse checks what was asked for.
func (k *kind) refuse(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if k.check != nil {
		return k.check(row, def)
	}
	return rowAllows(row, def)
}

// rowAllows checks sizes and flags against the type's row; whatever is wrong is EINVAL.
func rowAllows(row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if !flagsOK(row, def.Flags) || !row.KeySize.OK(def.KeySize) ||
		!row.ValueSize.OK(def.ValueSize) || !row.MaxEntries.OK(def.MaxEntries) {
		return errno.EINVAL
	}
	return 0
}

// flagsOK checks flags against the type's row, and that no map is closed to
// programs both ways (bpf_map_flags_access_ok).
func flagsOK(row *catalog.MapKind, flags uint32) bool {
	const closed = catalog.FlagRdonlyProg | catalog.FlagWronlyProg
	return flags&^(row.Flags|row.MustFlags) == 0 && flags&row.MustFlags == row.MustFlags && flags&closed != closed
}

// metaEqual reports whether m can stand where a map like the template is
// expected (bpf_map_meta_equal and the types' own additions).
func metaEqual(template, m *catalog.MapDef) bool {
	if m.Doubtful || template.Type != m.Type || template.KeySize != m.KeySize ||
		template.ValueSize != m.ValueSize || template.Flags != m.Flags ||
		len(template.Special) != len(m.Special) {
		return false
	}
	for i, f := range template.Special {
		if m.Special[i] != f {
			return false
		}
	}
	switch template.Type {
	case catalog.MapArray:
		return template.Flags&catalog.FlagInnerMap != 0 || template.MaxEntries == m.MaxEntries
	case catalog.MapXSKMap:
		return template.MaxEntries == m.MaxEntries
	}
	return true
}
