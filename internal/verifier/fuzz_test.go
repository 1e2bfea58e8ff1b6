package verifier_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/explain"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var fuzzTypes = [...]catalog.ProgType{catalog.ProgXDP, catalog.ProgSchedCls, catalog.ProgSocketFilter}

// fuzzMaps are what map references in fuzzed programs find, by number.
var fuzzMaps = []*catalog.MapDef{
	{Name: "hash", Type: catalog.MapHash, KeySize: 4, ValueSize: 16, MaxEntries: 4},
	{Name: "array", Type: catalog.MapArray, KeySize: 4, ValueSize: 64, MaxEntries: 1},
	{Name: "progs", Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 4},
	{Name: "ring", Type: catalog.MapRingBuf, MaxEntries: 4096},
	{Name: "locks", Type: catalog.MapArray, KeySize: 4, ValueSize: 16, MaxEntries: 1,
		Special: []catalog.SpecialField{{Kind: catalog.SpecialSpinLock, Off: 4, Size: 4}}},
	{Name: "outer", Type: catalog.MapArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 2,
		Inner: &catalog.MapDef{Name: "inner", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1}},
}

// FuzzVerify gives any bytes to the verifier as instructions. It must come to
// a verdict: no panic, no end of its budget overrun.
func FuzzVerify(f *testing.F) {
	for seed := uint64(1); seed <= 40; seed++ {
		c := randomCase(f, seed)
		f.Add(isa.Encode(c.prog.Insns, binary.LittleEndian), uint8(seed))
	}
	f.Fuzz(func(t *testing.T, code []byte, kind uint8) {
		code = code[:len(code)&^7]
		insns, err := isa.Decode(code, binary.LittleEndian)
		if err != nil || len(insns) > 4096 {
			return
		}
		find := func(i int32) *catalog.MapDef {
			if i < 0 || int(i) >= len(fuzzMaps) {
				return nil
			}
			return fuzzMaps[i]
		}
		p := &verifier.Program{Type: fuzzTypes[int(kind)%len(fuzzTypes)], Insns: insns, GPL: true, MapByIdx: find, MapByFD: find}
		verifier.Verify(p, fuzzOptions(kind, len(insns)))
	})
}

// fuzzOptions are drawn from the bits of kind. Their budgets keep one execution
// of instrumented code well below a second: the fuzzer takes what is slow for a
// hang. Tracing precision back costs the square of a path's length, a log of it
// at level 2 a line for each step; recorded states are pruned less.
func fuzzOptions(kind uint8, insns int) verifier.Options {
	o := verifier.Options{CPUs: 2, InsnLimit: 20_000, Unprivileged: kind&64 != 0, CapBPF: kind&128 != 0, States: kind&32 != 0}
	if o.States {
		o.InsnLimit = 4_000
	}
	if kind&16 != 0 {
		o.LogLevel = 1
		if insns <= 64 {
			o.LogLevel, o.InsnLimit = 2, 1_000
		}
	}
	return o
}

// FuzzExplain gives any bytes to the verifier and has what it refuses explained: no panic, and always something to change.
func FuzzExplain(f *testing.F) {
	for seed := uint64(1); seed <= 40; seed++ {
		c := randomCase(f, seed)
		f.Add(isa.Encode(c.prog.Insns, binary.LittleEndian), uint8(seed))
	}
	f.Fuzz(func(t *testing.T, code []byte, kind uint8) {
		code = code[:len(code)&^7]
		insns, err := isa.Decode(code, binary.LittleEndian)
		if err != nil || len(insns) > 1024 {
			return
		}
		find := func(i int32) *catalog.MapDef {
			if i < 0 || int(i) >= len(fuzzMaps) {
				return nil
			}
			return fuzzMaps[i]
		}
		p := &verifier.Program{Type: fuzzTypes[int(kind)%len(fuzzTypes)], Insns: insns, GPL: true, MapByIdx: find, MapByFD: find}
		explainAny(t, p, verifier.Options{CPUs: 2, InsnLimit: 5_000, Unprivileged: kind&64 != 0})
	})
}

// explainAny explains p if it is refused, in every form.
func explainAny(t *testing.T, p *verifier.Program, o verifier.Options) {
	h := verifier.HistoryOf(p, o)
	if h == nil {
		return
	}
	x := explain.Explain(h)
	if x.Kind == nil || x.Fix.Text == "" || x.String() == "" || x.Annotation("p", "f.c") == "" {
		t.Errorf("no explanation of %v", h.Err)
	}
	if strings.Contains(x.String(), "%!") {
		t.Errorf("a value without a place, or the other way round:\n%s", x)
	}
}

// Every refused case of testdata can be explained.
func TestCasesExplained(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			if c := parseCase(t, f); c.refuse {
				explainAny(t, &c.prog, c.options())
			}
		}
	}
}

// An endless program ends at the limit that was set.
func TestInsnLimit(t *testing.T) {
	insns := isa.Program(
		isa.Mov64Imm(isa.R0, 0),
		isa.ALU64Imm(isa.Add, isa.R0, 1),
		isa.JmpImm(isa.Jlt, isa.R0, 1<<30, -2),
		isa.ExitInsn())
	for _, limit := range []int{1000, 0} {
		_, err := verifier.Verify(&verifier.Program{Type: catalog.ProgSocketFilter, Insns: insns}, verifier.Options{InsnLimit: limit})
		var refusal *verifier.Error
		if !errors.As(err, &refusal) || refusal.Errno != errno.E2BIG {
			t.Fatalf("limit %d: %v, want E2BIG", limit, err)
		}
		if limit == 0 {
			limit = 1_000_000
		}
		if want := fmt.Sprintf("Processed %d insn", limit+1); !strings.Contains(refusal.Msg, want) {
			t.Errorf("%s, want %s", refusal.Msg, want)
		}
	}
}
