package catalog_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"

	. "github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
)

// validDef is the least map of a type that the rows allow.
func validDef(m *MapKind) MapDef {
	def := MapDef{
		Type: m.Type, KeySize: m.KeySize.Min, ValueSize: m.ValueSize.Min, MaxEntries: m.MaxEntries.Min, Flags: m.MustFlags,
	}
	if m.Traits&NeedsBTF != 0 {
		def.Key = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
		setValue(&def, 4)
	}
	if m.Type == MapArrayOfMaps || m.Type == MapHashOfMaps {
		def.Inner = &MapDef{Type: MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	}
	return def
}

// setValue sets the value's size, and its type where there is one.
func setValue(def *MapDef, size uint32) {
	def.ValueSize = size
	if def.Key != nil {
		def.Value = &btf.Struct{Name: "value", Size: size, Members: []btf.Member{{
			Name: "bytes",
			Type: &btf.Array{Index: &btf.Int{Name: "int", Size: 4}, Type: &btf.Int{Name: "char", Size: 1}, Nelems: size},
		}}}
	}
}

// create reports whether the kernel makes the map.
func create(t *testing.T, def MapDef) bool {
	t.Helper()
	m, err := linux.NewMap(&def, nil)
	if err != nil {
		if !errors.As(err, new(errno.Errno)) {
			t.Fatal(err)
		}
		return false
	}
	m.Close()
	return true
}

// Sizes and flags the rows allow are those the kernel allows.
func TestMapCreation(t *testing.T) {
	needKernel(t)
	sizes := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 24, 32, 260, 261, 512, 513, 1016, 1024, 4096, 4097}
	for i := range MapKinds() {
		m := &MapKinds()[i]
		if m.Type == MapStructOps {
			continue // its value is a structure of the kernel's own making
		}
		if def := validDef(m); !create(t, def) {
			t.Errorf("%s: the kernel refuses %+v", m.Name, def)
			continue
		}
		check := func(what string, n uint32, want bool, def MapDef) {
			t.Helper()
			if got := create(t, def); got != want {
				t.Errorf("%s: %s %#x: the kernel says %v, the row %v", m.Name, what, n, got, want)
			}
		}
		for _, n := range sizes {
			def := validDef(m)
			def.KeySize = n
			if def.Key == nil { // else the type fixes the size
				check("key size", n, m.KeySize.OK(n), def)
			}
			def = validDef(m)
			if def.Key == nil || n != 0 { // no type has no bytes
				setValue(&def, n)
				check("value size", n, m.ValueSize.OK(n), def)
			}
		}
		for _, n := range []uint32{0, 1, 2, 3, 100, 1000, 4096, 8192, 12288} {
			def := validDef(m)
			def.MaxEntries = n
			if m.Type == MapCPUMap && n > 8 {
				continue // bounded by NR_CPUS
			}
			check("max_entries", n, m.MaxEntries.OK(n), def)
		}
		for bit := range 32 {
			flag := uint32(1) << bit
			if flag == FlagTokenFD || flag == FlagVtypeBTFObjFD {
				continue // ask for a descriptor besides
			}
			def := validDef(m)
			if flag == FlagStackBuildID {
				def.ValueSize = 32
			}
			def.Flags |= flag
			check("flag", flag, (m.Flags|m.MustFlags)&flag != 0, def)
			if m.MustFlags&flag != 0 {
				def.Flags &^= flag
				check("without flag", flag, false, def)
			}
		}
		def := MapDef{Type: MapHashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1}
		inner := validDef(m)
		def.Inner = &inner
		check("as inner map", 0, m.Traits&Inner != 0, def)
	}
}

// Operations that the rows deny are those the kernel answers with ENOTSUPP or,
// where the operation exists to refuse, with EINVAL.
func TestMapOps(t *testing.T) {
	needKernel(t)
	for i := range MapKinds() {
		m := &MapKinds()[i]
		if m.Type == MapStructOps {
			continue
		}
		def := validDef(m)
		km, err := linux.NewMap(&def, nil)
		if err != nil {
			t.Fatal(err)
		}
		key, value := make([]byte, max(def.KeySize, 16)), make([]byte, 4096)
		var k []byte
		if def.KeySize != 0 {
			k = key
		}
		batch := func() *linux.Batch {
			return &linux.Batch{Count: 1, Keys: key, Values: value, Out: make([]byte, 16)}
		}
		for _, op := range []struct {
			op   MapOp
			name string
			run  func() error
		}{
			{OpLookup, "lookup", func() error { return km.Lookup(k, value, 0) }},
			{OpUpdate, "update", func() error { return km.Update(k, value, 0) }},
			{OpNextKey, "next key", func() error { return km.NextKey(nil, key) }},
			{OpBatchLookup, "batch lookup", func() error { return km.BatchLookup(batch()) }},
			{OpBatchLookupDelete, "batch lookup and delete", func() error { return km.BatchLookupAndDelete(batch()) }},
			{OpBatchUpdate, "batch update", func() error { return km.BatchUpdate(batch()) }},
			{OpBatchDelete, "batch delete", func() error { return km.BatchDelete(batch()) }},
			{OpLookupDelete, "lookup and delete", func() error { return km.LookupAndDelete(k, value, 0) }},
			{OpDelete, "delete", func() error { return km.Delete(k) }},
			{OpFreeze, "freeze", km.Freeze},
		} {
			err := op.run()
			no := errors.Is(err, errno.ENOTSUPP) || errors.Is(err, errno.EOPNOTSUPP)
			if m.Ops&op.op != 0 && no {
				t.Errorf("%s: %s: %v to the kernel, granted by the row", m.Name, op.name, err)
			}
			if m.Ops&op.op == 0 && !no && !errors.Is(err, errno.EINVAL) {
				t.Errorf("%s: %s: %v to the kernel, denied by the row", m.Name, op.name, err)
			}
		}
		km.Close()
	}
}

// Map rows are complete, and helpers and maps speak of each other.
func TestMapRows(t *testing.T) {
	for i := range MapKinds() {
		m := &MapKinds()[i]
		if m.Type != MapType(i+1) || m.Name == "" || m.Doc == "" || m.Since == "" {
			t.Errorf("row %d is of %v %q", i+1, m.Type, m.Name)
		}
		if MapKindByName(m.Name) != m || MapKindByType(m.Type) != m {
			t.Errorf("%s is not found", m.Name)
		}
		for _, id := range m.Helpers {
			if !slices.ContainsFunc(HelperByID(id).Args[:], func(a Arg) bool {
				return a.Type.Base() == ArgConstMapPtr || a.Type.Base() == ArgDynptr || a.Type.Base() == ArgKptrXchgDest
			}) {
				t.Errorf("%s: helper %v takes no map", m.Name, id)
			}
		}
	}
	for id := HelperID(1); HelperByID(id) != nil; id++ {
		h := HelperByID(id)
		for _, m := range MapKinds() {
			if h.Maps.Has(m.Type) && m.Helpers != nil && !slices.Contains(m.Helpers, id) {
				t.Errorf("%v wants a map of type %s, which does not allow it", id, m.Name)
			}
		}
	}
	if MapKindByType(0) != nil || MapKindByType(1<<31) != nil || MapKindByName("") != nil {
		t.Error("a row for what is no map type")
	}
}
