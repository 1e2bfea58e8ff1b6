package maps_test

import (
	"encoding/binary"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/isa"
)

// TestStackTraceAgainstKernel stores the kernel's own call chains on both
// sides: the ids made of them, their values and their order must agree.
func TestStackTraceAgainstKernel(t *testing.T) {
	p := newPair(t, def(catalog.MapStackTrace, 4, 20*8, 5, 0))
	all := func() {
		t.Helper()
		for _, id := range []uint32{0, 1, 7, 8, 1<<32 - 1} {
			p.lookup(u32(id), 0)
			p.nextKey(u32(id))
			p.update(u32(id), make([]byte, p.vlen), 0)
			p.pop(u32(id), 0)
			p.delete(u32(id))
		}
		p.walk()
		p.batch(batchLookup, maps.Batch{Count: 1})
	}
	all()
	prog, err := linux.Load(&linux.Prog{Type: catalog.ProgRawTracepoint, License: "GPL", Insns: isa.Program(
		isa.LdMapFD(isa.R2, int32(p.kern.FD())), isa.Mov64Imm(isa.R3, int32(maps.StackReuse)),
		isa.HelperCall(int32(catalog.FnGetStackid)), isa.ExitInsn())})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer prog.Close()
	ours := p.ours.(*maps.StackTrace)
	for range 3 {
		out, err := prog.TestRun(&linux.Run{NoDataOut: true})
		if err != nil {
			t.Fatal(err)
		}
		value := make([]byte, p.vlen)
		if err := p.kern.Lookup(u32(out.Ret), value, 0); err != nil {
			t.Fatalf("id %d: %v", int32(out.Ret), err)
		}
		var chain []uint64
		for at := 0; at < len(value); at += 8 {
			if ip := binary.NativeEndian.Uint64(value[at:]); ip != 0 {
				chain = append(chain, ip)
			}
		}
		if id := ours.ProgStackID(chain, maps.StackReuse); uint32(id) != out.Ret {
			t.Fatalf("%d frames have id %d, on the kernel %d", len(chain), int64(id), out.Ret)
		}
		p.walk()
		p.lookup(u32(out.Ret), 0)
	}
	all()
}
