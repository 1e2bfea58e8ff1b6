package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

func vectors(t *testing.T) map[string]*Vector {
	files, err := filepath.Glob("testdata/*.data")
	if err != nil || len(files) < 150 {
		t.Fatalf("%d vectors (%v)", len(files), err)
	}
	all := map[string]*Vector{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".data")] = v
	}
	return all
}

// Every vector gives its result on every engine.
func TestVectors(t *testing.T) {
	all := vectors(t)
	for _, e := range Engines {
		t.Run(e.Name, func(t *testing.T) {
			oracle.Need(t, e.Name, e.Available())
			for name, v := range all {
				if got, err := e.Run(v.Insns, v.Mem); err != nil || got != v.Result {
					t.Errorf("%s: %#x (%v), want %#x", name, got, err, v.Result)
				}
			}
		})
	}
}

// outside are forms that have no vector: a bare program has nothing to use them on.
var outside = map[string]string{
	"ld_abs": "a packet", "ld_ind": "a packet", "ld_map": "maps", "ld_btf_id": "variables of the kernel", "ld_func": "callbacks", "call_kfunc": "types of the kernel",
	"addr_space_cast": "an arena", "may_goto": "a verifier that counts", "gotox": "a jump table",
}

// Every form of instruction is in some vector.
func TestVectorsCoverTable(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range vectors(t) {
		for _, ins := range v.Insns {
			if row := isa.Lookup(ins); row != nil {
				seen[row.Name] = true
			}
		}
	}
	for _, row := range isa.Table {
		skip := false
		for prefix := range outside {
			skip = skip || strings.HasPrefix(row.Name, prefix)
		}
		if !seen[row.Name] && !skip {
			t.Errorf("no vector holds %s", row.Name)
		}
	}
}

// What cannot be run is an error, whatever it is.
func TestBadPrograms(t *testing.T) {
	for text, want := range map[string]string{
		"exit":                                 "uninitialised",
		"mov %r0, 0":                           "",
		"ja -5\nexit":                          "goes to -4",
		"ldxdw %r0, [%r10+8]\nexit":            "in no memory of the run",
		"mov %r1, 0\nldxdw %r0, [%r1+0]\nexit": "in no memory of the run",
		"call 999\nexit":                       "999",
		"call local f\nexit\nf: call local g\ng: ja f": "",
		"again: ja again": "budget",
	} {
		prog, err := Assemble(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if r0, err := ByName("interp").Run(prog, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %#x, %v, want an error about %q", text, r0, err, want)
		}
		if jit := ByName("jit"); jit.Available() == nil {
			if _, err := jit.Run(prog, nil); !errors.Is(err, errRefused) {
				t.Errorf("%q: native code: %v, want a refusal", text, err)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                               "no instructions",
		"-- asm\nexit\n":                                 "neither",
		"-- asm\nfrob %r1\n-- result\n0\n":               "line 1: frob %r1: unknown instruction",
		"-- asm\nmov %r11, 1\n-- result\n0\n":            `no register "%r11"`,
		"-- asm\nmov %r1\n-- result\n0\n":                "1 operands, want 2",
		"-- asm\nja out\n-- result\n0\n":                 `no label "out"`,
		"-- asm\nldxw %r1, %r2\n-- result\n0\n":          "no place in memory",
		"-- asm\nmov %r1, 0x100000000\n-- result\n0\n":   "does not fit 32 bits",
		"-- asm\nja 70000\n-- result\n0\n":               "does not fit 16 bits",
		"-- asm\nlock frob [%r1+0], %r2\n-- result\n0\n": "unknown atomic",
		"-- asm\nexit\n-- mem\nzz\n-- result\n0\n":       `"zz" is no byte in hex`,
		"-- asm\nexit\n-- result\nmany\n":                `"many" is no number`,
		"-- raw\n0xq\n-- result\n0\n":                    "-- raw",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want one about %q", text, err, want)
		}
	}
}

// Nothing a file of vectors holds makes the reader or the interpreter panic.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.data")
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		if (v == nil) != (err != nil) {
			t.Fatalf("%v, %v", v, err)
		}
		if v != nil && len(v.Insns) < 200 && len(v.Mem) < 200 {
			interpret(v.Insns, v.Mem)
		}
	})
}
