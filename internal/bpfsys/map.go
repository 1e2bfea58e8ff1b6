package bpfsys

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// numaNode is what numa_node says for "anywhere" (NUMA_NO_NODE).
const numaNone = ^uint32(0)

// mapCreate follows map_create.
func (c *call) mapCreate() (int32, errno.Errno) {
	a := as[mapCreate](&c.attr)
	token := a.MapFlags&catalog.FlagTokenFD != 0
	a.MapFlags &^= catalog.FlagTokenFD
	t := catalog.MapType(a.MapType)
	def := catalog.MapDef{
		Type: t, KeySize: a.KeySize, ValueSize: a.ValueSize, MaxEntries: a.MaxEntries,
		Flags: a.MapFlags, Extra: a.MapExtra,
	}
	row, e := maps.CheckAny(&def, a.BtfKeyTypeId != 0, a.BtfValueTypeId != 0)
	switch {
	case e != 0:
		return 0, e
	case (a.BtfVmlinuxValueTypeId != 0) != (t == catalog.MapStructOps),
		t == catalog.MapStructOps && (a.BtfKeyTypeId != 0 || a.BtfValueTypeId != 0),
		a.MapFlags&catalog.FlagNUMANode != 0 && a.NumaNode != numaNone && a.NumaNode != 0:
		return 0, errno.EINVAL
	}
	late := row.Traits&catalog.CheckedLate != 0
	if !late {
		if e := c.s.checkMap(&def); e != 0 {
			return 0, e
		}
	}
	if a.MapIfindex != 0 {
		if t != catalog.MapHash && t != catalog.MapArray {
			return 0, errno.EINVAL
		}
		return 0, c.offload(a.MapIfindex)
	}
	if token {
		return 0, c.token(a.MapTokenFd)
	}
	if c.s.sysctl(unprivilegedDisabled) != 0 && !c.who.can(CapBPF) || row.Needs == catalog.NeedsBPF && !c.who.can(CapBPF) ||
		row.Needs == catalog.NeedsNet && !c.who.can(CapNetAdmin) {
		return 0, errno.EPERM
	}
	if late {
		if e := c.s.checkMap(&def); e != 0 {
			return 0, e
		}
	}
	if t == catalog.MapStructOps {
		var e errno.Errno
		if def.Ops, e = c.structure(a); e != 0 {
			return 0, e
		}
	}
	if t == catalog.MapArrayOfMaps || t == catalog.MapHashOfMaps {
		inner, f, e := open[Map](c, a.InnerMapFd)
		if e != 0 {
			return 0, e
		}
		def.Inner = inner.Def()
		defer f.Put()
	}
	var ok bool
	if def.Name, ok = catalog.ObjName(a.MapName[:]); !ok {
		return 0, errno.EINVAL
	}
	if e := c.mapBTF(a, row, &def); e != 0 {
		return 0, e
	}
	if e := c.exclusive(a, &def); e != 0 {
		def.BTF.Drop()
		return 0, e
	}
	m, err := c.s.m.NewMap(def)
	if err != nil {
		def.BTF.Drop()
		return 0, numberOf(err)
	}
	return c.install(Map{m, c.s.m})
}

// exclusive reads the hash of the program that the map is for.
func (c *call) exclusive(a *mapCreate, def *catalog.MapDef) errno.Errno {
	switch {
	case a.ExclProgHash == 0 && a.ExclProgHashSize == 0:
		return 0
	case a.ExclProgHash == 0 || a.ExclProgHashSize != sha256.Size:
		return errno.EINVAL
	}
	hash, e := c.read(a.ExclProgHash, sha256.Size)
	if e == 0 {
		def.Exclusive = (*[sha256.Size]byte)(hash)
	}
	return e
}

// checkMap checks sizes and flags by the map's type.
func (s *System) checkMap(def *catalog.MapDef) errno.Errno {
	e := maps.Check(def)
	if e == errno.ENOTSUPP {
		s.unserved("", "making a %s map", def.Type)
		return errno.EINVAL
	}
	return e
}

// mapBTF looks up the types of keys and values (map_check_btf).
func (c *call) mapBTF(a *mapCreate, row *catalog.MapKind, def *catalog.MapDef) errno.Errno {
	if a.BtfKeyTypeId == 0 && a.BtfValueTypeId == 0 && a.BtfVmlinuxValueTypeId == 0 {
		return 0
	}
	types, f, e := open[*BTF](c, a.BtfFd)
	if e != 0 {
		return e
	}
	defer f.Put()
	if types.kernel {
		return errno.EACCES
	}
	if def.Ops != nil {
		types.Acquire()
		def.BTF = &catalog.MapBTF{ID: types.id, Release: types.Close}
		return 0
	}
	sized := func(id, size uint32) (btf.Type, bool) {
		t, err := types.spec.TypeByID(btf.TypeID(id))
		if err != nil {
			return nil, false
		}
		n, err := btf.Sizeof(t)
		return t, err == nil && uint32(n) == size
	}
	var ok bool
	if a.BtfKeyTypeId != 0 {
		if def.Key, ok = sized(a.BtfKeyTypeId, def.KeySize); !ok {
			return errno.EINVAL
		}
	} else if row.Types != catalog.IndexTypes && row.Types != catalog.NoKeyTypes && row.Types != catalog.NoTypes {
		return errno.EINVAL
	}
	if def.Value, ok = sized(a.BtfValueTypeId, def.ValueSize); !ok {
		return errno.EINVAL
	}
	types.Acquire()
	def.BTF = &catalog.MapBTF{ID: types.id, Key: a.BtfKeyTypeId, Value: a.BtfValueTypeId, Release: types.Close}
	return 0
}

// numberOf is the number an error of the layers below stands for. What skep
// cannot do is what a kernel without it does not know.
func numberOf(err error) errno.Errno {
	if e := errno.Errno(0); errors.As(err, &e) {
		return e
	}
	return errno.EINVAL
}

// key copies a key from the caller (__bpf_copy_key): a map without keys takes none.
func (c *call) key(m maps.Map, addr uint64) ([]byte, errno.Errno) {
	n := int(m.Def().KeySize)
	if n == 0 {
		if addr != 0 {
			return nil, errno.EINVAL
		}
		return nil, 0
	}
	k, e := c.read(addr, n)
	if e != 0 {
		return nil, e
	}
	switch owners := catalog.MapKindByType(m.Def().Type).Owners; owners {
	case catalog.OwnersNone:
	case catalog.OwnersSockets:
		c.toSocket(k)
	default:
		c.toObject(owners, k)
	}
	c.checkSocket(m, k)
	return k, 0
}

// openMap opens a map for an operation that is admitted, before any memory is read.
func (c *call) openMap(fd int32, op catalog.MapOp, flags uint64) (Map, *File, errno.Errno) {
	m, f, e := open[Map](c, fd)
	if e != 0 {
		return m, nil, e
	}
	if e := m.Admit(op, flags); e != 0 {
		f.Put()
		return m, nil, e
	}
	return m, f, 0
}

// mapLookup follows map_lookup_elem.
func (c *call) mapLookup() (int32, errno.Errno) {
	a := as[mapElem](&c.attr)
	if a.Flags&^catalog.UpdateLock != 0 {
		return 0, errno.EINVAL
	}
	m, f, e := c.openMap(a.MapFd, catalog.OpLookup, a.Flags)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	k, e := c.key(m.Map, a.Key)
	if e != 0 {
		return 0, e
	}
	v := make([]byte, m.ValueSize())
	if m.Def().Type == catalog.MapBloomFilter {
		if v, e = c.read(a.Value, m.ValueSize()); e != 0 {
			return 0, e
		}
		return 0, asNumber(m.Lookup(k, v, a.Flags))
	}
	if err := m.Lookup(k, v, a.Flags); err != nil {
		return 0, asNumber(err)
	}
	return 0, c.write(a.Value, v)
}

func asNumber(err error) errno.Errno {
	if err == nil {
		return 0
	}
	return numberOf(err)
}

// mapUpdate follows map_update_elem.
func (c *call) mapUpdate() (int32, errno.Errno) {
	a := as[mapElem](&c.attr)
	m, f, e := c.openMap(a.MapFd, catalog.OpUpdate, a.Flags)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	k, e := c.key(m.Map, a.Key)
	if e != 0 {
		return 0, e
	}
	v, e := c.read(a.Value, m.ValueSize())
	if e != 0 {
		return 0, e
	}
	if events, ok := maps.Unwrap(m.Map).(*maps.PerfEventArray); ok {
		return 0, c.perfUpdate(events, f, k, v, a.Flags)
	}
	done := c.toIDs(m.Def(), v)
	defer done()
	err := m.Update(k, v, a.Flags)
	if errors.Is(err, errno.E2BIG) { // of those in the map some may have been closed
		c.sweepSockets(m.Map)
		err = m.Update(k, v, a.Flags)
	}
	return 0, asNumber(err)
}

// toIDs replaces the descriptor in a value, for types whose values hold one, by
// the id that the machine knows the object by. done gives back what kept it alive.
func (c *call) toIDs(def *catalog.MapDef, v []byte) (done func()) {
	done = func() {}
	if def.Ops != nil {
		c.toMembers(def.Ops, v)
		return done
	}
	row := catalog.MapKindByType(def.Type)
	at := 0
	switch row.Holds {
	case catalog.HoldsNothing:
		return done
	case catalog.HoldsSockets:
		c.toSocket(v)
		return done
	case catalog.HoldsXSKs:
		c.toXSK(v)
		return done
	case catalog.HoldsCGroups:
		c.toObject(catalog.OwnersCGroups, v)
		return done
	case catalog.HoldsProgBehind: // bpf_devmap_val, bpf_cpumap_val
		if at = 4; len(v) < 8 {
			return done
		}
	}
	fd := int32(binary.NativeEndian.Uint32(v[at:]))
	if at != 0 && fd <= 0 {
		return done // none
	}
	id := run.NoDescriptor
	switch f, e := c.who.Files.File(fd); {
	case e != 0:
	case f == nil:
		id = run.OtherDescriptor
	default:
		id, done = run.OtherDescriptor, f.Put
		switch o := f.object.(type) {
		case Map:
			if row.Holds == catalog.HoldsMaps {
				id = o.Def().ID
			}
		case *run.Program:
			if row.Holds != catalog.HoldsMaps {
				id = o.ID()
			}
		}
	}
	binary.NativeEndian.PutUint32(v[at:], id)
	return done
}

// mapDelete follows map_delete_elem.
func (c *call) mapDelete() (int32, errno.Errno) {
	a := as[mapElem](&c.attr)
	m, f, e := c.openMap(a.MapFd, catalog.OpDelete, 0)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	k, e := c.key(m.Map, a.Key)
	if e != 0 {
		return 0, e
	}
	return 0, asNumber(m.Delete(k))
}

// mapNextKey follows map_get_next_key.
func (c *call) mapNextKey() (int32, errno.Errno) {
	a := as[mapElem](&c.attr)
	m, f, e := c.openMap(a.MapFd, catalog.OpNextKey, 0)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	var k []byte
	if a.Key != 0 {
		if k, e = c.key(m.Map, a.Key); e != 0 {
			return 0, e
		}
	}
	next := make([]byte, m.Def().KeySize)
	for {
		if err := m.NextKey(k, next); err != nil {
			return 0, asNumber(err)
		}
		if m.Def().Type != catalog.MapSockHash || !c.checkSocket(m.Map, next) {
			break // what has no socket is no key of a sockhash, but one of an array
		}
	}
	return 0, c.write(a.Value, next)
}

// mapLookupAndDelete follows map_lookup_and_delete_elem.
func (c *call) mapLookupAndDelete() (int32, errno.Errno) {
	a := as[mapElem](&c.attr)
	if a.Flags&^catalog.UpdateLock != 0 {
		return 0, errno.EINVAL
	}
	m, f, e := c.openMap(a.MapFd, catalog.OpLookupDelete, a.Flags)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	k, e := c.key(m.Map, a.Key)
	if e != 0 {
		return 0, e
	}
	v := make([]byte, m.ValueSize())
	if err := m.LookupAndDelete(k, v, a.Flags); err != nil {
		return 0, asNumber(err)
	}
	return 0, c.write(a.Value, v)
}

// mapFreeze follows map_freeze.
func (c *call) mapFreeze() (int32, errno.Errno) {
	m, f, e := open[Map](c, as[mapElem](&c.attr).MapFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	return 0, asNumber(m.Freeze())
}
