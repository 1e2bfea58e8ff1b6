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

// maxMapType is the first number that is no map type of Linux 6.18.
const maxMapType = catalog.MapArena + 1

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
	if def.Key != nil && def.Value == nil {
		return nil, errno.EINVAL
	}
	if def.Type != catalog.MapBloomFilter && def.Type != catalog.MapArena && def.Extra != 0 {
		return nil, errno.EINVAL
	}
	access := def.Flags & flagsFD
	if access == flagsFD {
		return nil, errno.EINVAL
	}
	if def.Type == catalog.MapUnspec || def.Type >= maxMapType {
		return nil, errno.EINVAL
	}
	k := kinds[def.Type]
	if k == nil {
		return nil, &UnsupportedError{def.Type}
	}
	if e := k.check(cfg, &def); e != 0 {
		return nil, e
	}
	if !validName(def.Name) {
		return nil, errno.EINVAL
	}
	if e := settle(cfg, &def); e != 0 {
		return nil, e
	}
	if def.Inner != nil {
		inner := *def.Inner
		if e := settle(cfg, &inner); e != 0 {
			return nil, e
		}
		def.Inner = &inner
	}
	c := &core{def: def, kind: k, cfg: cfg, vals: newValueLayout(&def)}
	c.refs.Store(1)
	m, e := k.make(c)
	if e != 0 {
		return nil, e
	}
	c.impl = m.(impl)
	if c.def.Ptr == 0 {
		panic("BUG: map made without a header")
	}
	c.setHeader()
	return Open(m, access)
}

// flagsFD are the flags of a descriptor, which a map does not keep.
const flagsFD = catalog.FlagRdonly | catalog.FlagWronly

// settle turns what was asked for into what the map has.
func settle(cfg *Config, def *catalog.MapDef) errno.Errno {
	if def.Special == nil && def.Value != nil {
		fields, err := SpecialFields(def.Value)
		if err != nil {
			return asErrno(err)
		}
		def.Special = fields
	}
	def.Flags &^= flagsFD
	if k := kinds[def.Type]; k != nil && k.settle != nil {
		k.settle(cfg, def)
	}
	return specialAllowed(def)
}

// validName follows bpf_obj_name_cpy: letters, digits, '_' and '.', at most 15.
func validName(name string) bool {
	if len(name) > 15 {
		return false
	}
	for i := range len(name) {
		ch := name[i]
		switch {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '_', ch == '.':
		default:
			return false
		}
	}
	return true
}

// accessOK refuses BPF_F_RDONLY_PROG together with BPF_F_WRONLY_PROG (bpf_map_flags_access_ok).
func accessOK(flags uint32) bool {
	const both = catalog.FlagRdonlyProg | catalog.FlagWronlyProg
	return flags&both != both
}

// flagsAccess are the access flags a type may allow (BPF_F_ACCESS_MASK).
const flagsAccess = flagsFD | catalog.FlagRdonlyProg | catalog.FlagWronlyProg

// metaEqual reports whether m can stand where a map like the template is
// expected (bpf_map_meta_equal and the types' own additions).
func metaEqual(template, m *catalog.MapDef) bool {
	if template.Type != m.Type || template.KeySize != m.KeySize ||
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
