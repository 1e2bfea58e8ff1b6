package image

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// TestKernel gives the live kernel what images say: types, maps, instructions,
// function and line records. It checks all of these before it looks at the
// program itself, and takes every program here.
func TestKernel(t *testing.T) {
	probe, err := linux.NewMap(&catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}, nil)
	oracle.Need(t, "bpf(2)", err)
	probe.Close()

	objs := glob(t, "../examples/*/*.o")
	for _, name := range []string{"data", "exception", "hidden", "iproute2", "legacy", "legacy-nobtf", "maps", "subprogs"} {
		objs = append(objs, filepath.Join("testdata", name+".o"))
	}
	for _, path := range objs {
		if strings.HasSuffix(path, "refused.o") {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			img, err := LoadFile(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(img.Maps, func(m *Map) bool { return m.Kind == KindStructOps }) {
				return // whose maps are made by the kernel's types
			}
			loadIntoKernel(t, img)
		})
	}
}

func loadIntoKernel(t *testing.T, img *Image) {
	t.Helper()
	var types *linux.BTF
	if img.RawBTF != nil {
		var err error
		if types, err = linux.LoadBTF(img.RawBTF); err != nil {
			t.Fatalf("types: %+v", err)
		}
		defer types.Close()
	}
	var maps []*linux.Map
	for _, m := range img.Maps {
		km, err := linux.NewMap(m.Def(1), nil)
		if err != nil {
			t.Fatalf("map %s: %v", m.Name, err)
		}
		defer km.Close()
		if m.Data != nil {
			if err := km.Update(make([]byte, 4), m.Data, 0); err != nil {
				t.Fatalf("map %s: %v", m.Name, err)
			}
		}
		maps = append(maps, km)
	}
	for _, p := range img.Programs {
		if p.Err != nil {
			t.Error(p.Err)
			continue
		}
		kp, err := linux.Load(&linux.Prog{
			Name: p.Name, Type: p.Type, Attach: p.Attach, Flags: p.Flags,
			Insns: p.Insns, License: img.License, Maps: maps, BTF: types,
			FuncInfo: p.FuncInfoRecords(img.ByteOrder), LineInfo: p.LineInfoRecords(img.ByteOrder),
		})
		if err != nil {
			t.Errorf("%s: %+v", p.Name, err)
			continue
		}
		kp.Close()
	}
}
