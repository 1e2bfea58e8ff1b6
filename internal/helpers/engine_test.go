package helpers_test

import (
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
)

func init() {
	helpers.Engines = map[string]helpers.Engine{"checked interpreter": engine(run.Options{Checked: true})}
	if jit.Available() == nil {
		helpers.Engines["JIT"] = engine(run.Options{JIT: run.JITOn})
	}
}

// kernelTypes are the running kernel's types, for kernel functions.
var kernelTypes = sync.OnceValue(func() *btf.Spec {
	spec, _ := btf.LoadKernelSpec() // without, programs that need it are refused
	return spec
})

// engine takes a program all the way: verifier, rewriter, and the engine of the options.
func engine(o run.Options) helpers.Engine {
	return func(t *testing.T, r *helpers.EngineRun) ([]byte, error) {
		t.Helper()
		o.CPUs, o.Net = 2, r.Net
		return runScript(t, o, r)
	}
}

func runScript(t *testing.T, o run.Options, r *helpers.EngineRun) ([]byte, error) {
	t.Helper()
	m, err := run.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var used []maps.Map
	for i, def := range r.Maps {
		mp, err := m.NewMap(def)
		if err != nil {
			t.Fatalf("map %s: %v", def.Name, err)
		}
		defer mp.Close()
		r.Fill(i, func(key, value []byte) {
			if err := mp.Update(key, value, 0); err != nil {
				t.Fatalf("map %s: %v", def.Name, err)
			}
		})
		if i == r.Freeze {
			if err := mp.Freeze(); err != nil {
				t.Fatal(err)
			}
		}
		used = append(used, mp)
	}
	vp := &verifier.Program{
		Name: "script", Type: r.Type, Flags: r.Flags, Insns: r.Insns, GPL: true, KernelBTF: kernelTypes(),
		MapByFD: func(int32) *catalog.MapDef { return nil },
		MapByIdx: func(i int32) *catalog.MapDef {
			if i < 0 || int(i) >= len(used) {
				return nil
			}
			return used[i].Def()
		},
	}
	res, err := verifier.Verify(vp, verifier.Options{States: o.Checked})
	if err != nil {
		t.Fatalf("verifier: %v", err)
	}
	rw, err := rewrite.Rewrite(vp, res)
	if err != nil {
		t.Fatalf("rewrite: %v", err)
	}
	p, err := m.NewProgram(rw, used)
	if err != nil {
		t.Fatalf("program: %v", err)
	}
	defer p.Close()
	cpu := m.AcquireCPU(0)
	defer cpu.Release()
	pkt := cpu.Packet()
	if err := r.SetUp(pkt); err != nil {
		return nil, err
	}
	if _, err := cpu.Run(p, pkt.Addr(), pkt); err != nil {
		t.Fatalf("run: %v", err)
	}
	out := make([]byte, used[0].ValueSize())
	if err := used[0].Lookup(make([]byte, 4), out, 0); err != nil {
		t.Fatal(err)
	}
	return out, r.After(pkt)
}
