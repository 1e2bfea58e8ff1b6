package verifier_test

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/linux"
)

// kernelBTF is the running kernel's BTF, or nil.
var kernelBTF = sync.OnceValue(func() *btf.Spec {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil
	}
	return spec
})

// loadKernel gives a case to the live kernel, with the capabilities it asks for.
func loadKernel(t testing.TB, c *testCase, level uint32) (lp *linux.LoadedProg, err error) {
	t.Helper()
	if !c.capBPF {
		return loadAs(t, c, level)
	}
	if cerr := withCapBPF(func() { lp, err = loadAs(t, c, level) }); cerr != nil {
		t.Fatal(cerr)
	}
	return lp, err
}

func loadAs(t testing.TB, c *testCase, level uint32) (*linux.LoadedProg, error) {
	t.Helper()
	p := &linux.Prog{
		Name: "case", Type: c.prog.Type, Attach: c.prog.Attach, Flags: c.prog.Flags, Insns: c.prog.Insns,
		License: c.license, LogLevel: level,
	}
	if c.prog.AttachTo != "" {
		p.AttachTo(kernelBTF(), c.prog.AttachTo)
	}
	if c.btf != nil {
		c.loadTypes(t, p)
	}
	for _, def := range c.maps {
		m, err := linux.NewMap(def, c.mapOptions(p, def))
		if err != nil {
			t.Fatalf("map %s: %v", def.Name, err)
		}
		t.Cleanup(func() { m.Close() })
		p.Maps = append(p.Maps, m)
	}
	if len(c.funcs) > 0 && c.btf == nil {
		b, err := btf.NewBuilder(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, fn := range c.prog.Funcs {
			id, err := b.Add(c.funcs[i])
			if err != nil {
				t.Fatal(err)
			}
			p.FuncInfo = binary.LittleEndian.AppendUint32(p.FuncInfo, uint32(fn.Slot))
			p.FuncInfo = binary.LittleEndian.AppendUint32(p.FuncInfo, uint32(id))
		}
		blob, err := b.Marshal(nil, btf.KernelMarshalOptions())
		if err != nil {
			t.Fatal(err)
		}
		obj, err := linux.LoadBTF(blob)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { obj.Close() })
		p.BTF = obj
	}
	return linux.Load(p)
}
