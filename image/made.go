package image

import "github.com/skep-bpf/skep/internal/catalog"

// Complete gives a map the sizes that an object may leave to the tool that loads
// it: at least one entry, a page of a ring buffer, and the frames of a stack trace.
func (m *Map) Complete() {
	if m.Type == catalog.MapStackTrace && m.ValueSize == 0 {
		m.ValueSize = 127 * 8 // PERF_MAX_STACK_DEPTH
	}
	switch m.Type {
	case catalog.MapHash, catalog.MapArray, catalog.MapLRUHash, catalog.MapPerCPUHash, catalog.MapPerCPUArray, catalog.MapStackTrace,
		catalog.MapArrayOfMaps, catalog.MapHashOfMaps:
		m.MaxEntries = max(m.MaxEntries, 1)
	case catalog.MapRingBuf, catalog.MapUserRingBuf:
		if m.MaxEntries == 0 {
			m.MaxEntries = 4096 // one page, the least there is
		}
	case catalog.MapLPMTrie:
		m.Flags |= catalog.FlagNoPrealloc // there is no other kind
	}
	if m.Inner != nil {
		inner := *m.Inner
		inner.Complete()
		m.Inner = &inner
	}
}

// Made is what the map is to a verifier once a loader has made it, on a machine
// with so many CPUs: its definition, the special fields of its values, and the
// constants it is filled with.
func (m *Map) Made(cpus int) *catalog.MapDef {
	d := m.Def(cpus)
	for in := d; in != nil; in = in.Inner {
		if in.Value != nil {
			in.Special, _ = catalog.FindSpecial(in.Value, false) // the kernel ignores the error too
		}
	}
	if m.Freeze && m.Flags&catalog.FlagRdonlyProg != 0 {
		d.ReadConst = func(off uint32, b []byte) bool {
			if uint64(off)+uint64(len(b)) > uint64(m.ValueSize) {
				return false
			}
			clear(b)
			if uint64(off) < uint64(len(m.Data)) {
				copy(b, m.Data[off:])
			}
			return true
		}
	}
	return d
}
