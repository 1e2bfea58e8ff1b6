package skep_test

import (
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// A lookup in an inner map reaches the one that was found, not another of the
// same shape, on engines that look up by themselves too.
func TestLookupInInnerMap(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapArray, catalog.MapPerCPUArray, catalog.MapHash} {
		t.Run(typ.String(), func(t *testing.T) {
			inner := func(name string) *image.Map {
				return &image.Map{Name: name, Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 2}
			}
			a, b := inner("a"), inner("b")
			outer := &image.Map{Name: "outer", Type: catalog.MapArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 2, Inner: inner("template")}
			img := testprog.Image(t, []*image.Map{a, b, outer}, testprog.Prog{Name: "find", Type: catalog.ProgXDP, Text: `
				*(u32 *)(r10 - 4) = 1
				r1 = map_idx[2] ll
				r2 = r10
				r2 += -4
				call bpf_map_lookup_elem
				if r0 == 0 goto out
				r1 = r0
				*(u32 *)(r10 - 4) = 0
				r2 = r10
				r2 += -4
				call bpf_map_lookup_elem
				if r0 == 0 goto out
				r0 = *(u64 *)(r0 + 0)
			out:
				exit`})
			m := machine(t, engine)
			coll := load(t, m, img)
			for i, name := range []string{"a", "b"} {
				put := any(uint64(i + 7))
				if typ == catalog.MapPerCPUArray {
					all := make([]uint64, m.CPUs())
					for cpu := range all {
						all[cpu] = uint64(i + 7)
					}
					put = all
				}
				if err := coll.Maps[name].Put(uint32(0), put); err != nil {
					t.Fatal(err)
				}
				if err := coll.Maps["outer"].Put(uint32(i), coll.Maps[name]); err != nil {
					t.Fatal(err)
				}
			}
			if got, _, err := coll.Programs["find"].Test(make([]byte, 64)); err != nil || got != 8 {
				t.Errorf("found %d (%v), want 8", got, err)
			}
		})
	}
}
