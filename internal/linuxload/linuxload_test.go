package linuxload_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/linuxload"
	"github.com/skep-bpf/skep/internal/oracle"
)

// TestMaps: constants are there and frozen, types the kernel does not take are
// left out, and a map of maps starts with what its slots say.
func TestMaps(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	four := &btf.Int{Name: "u32", Size: 4}
	odd := &btf.Struct{Name: "odd", Size: 4, Members: []btf.Member{{Name: "a", Type: four}}}
	array := image.Map{Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	consts, inner, outer := array, array, array
	consts.Name, consts.Data, consts.Freeze = "consts", []byte("abcd"), true
	inner.Name, inner.Key, inner.Value = "inner", odd, four // no index is a struct
	outer.Name, outer.Type, outer.MaxEntries = "outer", catalog.MapArrayOfMaps, 2
	outer.Inner, outer.Slots = &inner, []image.Slot{{Key: 1, Map: &inner}}
	img := &image.Image{ByteOrder: binary.NativeEndian, Maps: []*image.Map{&consts, &inner, &outer}}

	made := map[*image.Map]*linux.Map{}
	fill := func() error { return linuxload.FillMaps(img, func(m *image.Map) *linux.Map { return made[m] }) }
	for _, m := range []*image.Map{&consts, &outer, &inner} {
		switch err := fill(); {
		case made[&outer] == nil && err != nil:
			t.Errorf("with nothing to fill: %v", err)
		case made[&outer] != nil && (err == nil || !strings.Contains(err.Error(), "inner")):
			t.Errorf("without the inner map: %v", err)
		}
		k, err := linuxload.NewMap(m, m.Def(1), nil, 0)
		if err != nil {
			t.Fatalf("map %s: %v", m.Name, err)
		}
		defer k.Close()
		made[m] = k
	}
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	at := func(m *image.Map, key uint32) (value [4]byte, err error) {
		err = made[m].Lookup(binary.NativeEndian.AppendUint32(nil, key), value[:], 0)
		return value, err
	}
	if v, err := at(&consts, 0); err != nil || string(v[:]) != "abcd" {
		t.Errorf("the constants: %q, %v", v, err)
	}
	if err := made[&consts].Update(make([]byte, 4), make([]byte, 4), 0); !errors.Is(err, errno.EPERM) {
		t.Errorf("an update of the constants: %v, want EPERM", err)
	}
	if _, err := at(&outer, 0); !errors.Is(err, errno.ENOENT) {
		t.Errorf("the slot that holds nothing: %v, want ENOENT", err)
	}
	if v, err := at(&outer, 1); err != nil || v == [4]byte{} {
		t.Errorf("the slot that holds a map: %v, %v", v, err)
	}
}
