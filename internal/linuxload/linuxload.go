// Package linuxload puts an image into the real kernel as libbpf would: its maps with
// what they start with, its programs with what they come with.
package linuxload

import (
	"errors"
	"fmt"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
)

// NewMap makes a map as def has it, with the types that m names in types, which may be nil.
// Where the kernel does not take the types it goes without, for types describe a map,
// mostly. Global data gets its content; constants are frozen. ifindex is of the device it is for, 0: none.
func NewMap(m *image.Map, def *catalog.MapDef, types *linux.BTF, ifindex uint32) (_ *linux.Map, err error) {
	opts := linux.MapOptions{NUMANode: m.NUMANode, IfIndex: ifindex, BTF: types, KeyID: m.KeyID, ValueID: m.ValueID}
	if m.Inner != nil && def.Inner != nil {
		if opts.Inner, err = NewMap(m.Inner, def.Inner, types, 0); err != nil {
			return nil, fmt.Errorf("inner map: %w", err)
		}
		defer opts.Inner.Close()
	}
	k, err := linux.NewMap(def, &opts)
	if err != nil && def.Value != nil {
		plain := *def
		plain.Key, plain.Value = nil, nil
		k, err = linux.NewMap(&plain, &opts)
	}
	if err != nil {
		return nil, err
	}
	if m.Data != nil && m.Type == catalog.MapArray {
		err = k.Update(make([]byte, 4), m.Data, 0)
	}
	if err == nil && m.Freeze {
		err = k.Freeze()
	}
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// FillMaps puts inner maps where maps of maps start with them. made returns the map that
// was made of one of the image, or nil; a map that was not made is not filled.
func FillMaps(img *image.Image, made func(*image.Map) *linux.Map) error {
	for _, m := range img.Maps {
		for _, slot := range m.Slots {
			if slot.Map == nil {
				continue
			}
			outer, inner := made(m), made(slot.Map)
			switch {
			case outer == nil:
				continue
			case inner == nil:
				return fmt.Errorf("map %s: it starts with %s, which was not made", m.Name, slot.Map.Name)
			}
			if err := Put(img, outer, slot.Key, inner.FD()); err != nil {
				return fmt.Errorf("map %s: %w", m.Name, err)
			}
		}
	}
	return nil
}

// Put puts a descriptor into an element of a map of the image that holds descriptors.
func Put(img *image.Image, m *linux.Map, key uint32, fd int) error {
	k, v := make([]byte, 4), make([]byte, 4)
	img.ByteOrder.PutUint32(k, key)
	img.ByteOrder.PutUint32(v, uint32(fd))
	return m.Update(k, v, 0)
}

// Prog is what the kernel is given of a program. maps stand in the order of the image's; nil are those not made.
func Prog(img *image.Image, p *image.Program, maps []*linux.Map, types *linux.BTF) *linux.Prog {
	return &linux.Prog{
		Name: p.Name, Type: p.Type, Attach: p.Attach, Flags: p.Flags, Insns: p.Insns, License: img.License,
		Maps: maps, BTF: types, FuncInfo: p.FuncInfoRecords(img.ByteOrder), LineInfo: p.LineInfoRecords(img.ByteOrder),
	}
}
