// Package codetest shows what compilers make of programs, for their tests.
package codetest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Compiler is a back end and how its code is read.
type Compiler struct {
	Compile func(p *rewrite.Program, o code.Options) (*code.Object, error)
	// Disassemble gives the text of the instruction that code begins with, which
	// lies at pc, and its length.
	Disassemble func(code []byte, pc int) (text string, length int)
}

// Golden compiles the programs of testdata: BPF in, machine code out. Each has
// lines with a #, which say what is known of it:
//
//	# bmi2              the processor's feature (bmi2, movbe, lzcnt, lse, page4, sync), or poll, guard, retpolines, clock
//	# stack 24          bytes of stack of the first function
//	# func 5 16         a function begins at slot 5, with 16 bytes of stack; "callback" likewise
//	# hash 3 4 8        at slot 3 a hash map with keys of 4 and values of 8 bytes is asked
func (c Compiler) Golden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i := range ar.Files {
				f := &ar.Files[i]
				in, want, _ := strings.Cut(string(f.Data), "---\n")
				got := c.text(t, f.Name, in)
				if *update {
					f.Data = []byte(in + "---\n" + got)
				} else if got != want {
					t.Errorf("%s:\ngot:\n%swant:\n%s", f.Name, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(ar), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// text makes code of a program in text form, and a listing of that.
func (c Compiler) text(t *testing.T, name, text string) string {
	t.Helper()
	var o code.Options
	p := &rewrite.Program{Source: &verifier.Program{}}
	var lines []string
	var facts [][]string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
			continue
		}
		facts = append(facts, strings.Fields(line[1:]))
	}
	var err error
	if p.Insns, err = isa.Assemble(name, strings.Join(lines, ""), isa.Symbols{}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p.Subprogs = []verifier.Subprog{{End: len(p.Insns)}}
	p.Facts = &verifier.Result{Insns: make([]verifier.InsnFacts, len(p.Insns))}
	for pc := range p.Insns {
		p.Orig = append(p.Orig, int32(pc))
	}
	for _, f := range facts {
		var a, b, size int
		fmt.Sscan(strings.Join(f[1:], " "), &a, &b, &size)
		switch f[0] {
		case "bmi2":
			o.BMI2 = true
		case "lzcnt":
			o.LZCNT = true
		case "movbe":
			o.MOVBE = true
		case "lse":
			o.LSE = true
		case "page4":
			o.Page4 = true
		case "sync":
			o.Sync = true
		case "poll":
			o.Poll = true
		case "guard":
			o.Guard = true
		case "clock":
			o.ClockGettime, o.Clock = 0x7ffff7fc1000, &code.Clock{Boot: 7e9}
		case "retpolines":
			o.Retpolines = true
		case "stack":
			p.Subprogs[0].StackDepth = a
		case "func", "callback":
			p.Subprogs[len(p.Subprogs)-1].End = a
			p.Subprogs = append(p.Subprogs, verifier.Subprog{Start: a, End: len(p.Insns), StackDepth: b, Callback: f[0] == "callback"})
		case "percpu_array", "hash", "lru_hash", "percpu_hash", "lpm_trie", "ringbuf", "array_of_maps", "devmap", "devmap_hash":
			entries := uint32(4)
			if f[0] == "ringbuf" {
				entries = 4096
			}
			p.Facts.Insns[a].Map = &catalog.MapDef{
				Type: catalog.MapKindByName(f[0]).Type, KeySize: uint32(b), ValueSize: uint32(size), MaxEntries: entries, Ptr: 1,
			}
			o.Layout = func(*catalog.MapDef) (code.Layout, bool) {
				return code.Layout{
					Base: 0x7f0000001000, CPUStride: 4096, ElemSize: 32, Buckets: 0x7f0000002000, Mask: 3,
					Seed: 7, ValueOff: 24, PerCPU: 0x7f0000003000,
				}, true
			}
		case "inner_array", "inner_hash":
			p.Facts.Insns[a].Map = &catalog.MapDef{
				Type: catalog.MapKindByName(f[0][len("inner_"):]).Type, KeySize: uint32(b), ValueSize: uint32(size), MaxEntries: 4,
			}
		default:
			t.Fatalf("%s: unknown fact %q", name, f[0])
		}
	}
	obj, err := c.Compile(p, o)
	if err != nil {
		return err.Error() + "\n"
	}
	return c.listing(obj)
}

// listing prints code with the slot each piece was made of and the sites' resume points.
func (c Compiler) listing(obj *code.Object) string {
	var out strings.Builder
	marks := map[int]string{}
	for pc, off := range obj.Slots {
		if pc+1 < len(obj.Slots) && obj.Slots[pc+1] == off {
			continue // fused into the next, or the first half of a load
		}
		marks[off] = fmt.Sprint(pc)
	}
	for i := exec.SiteOwn; i < len(obj.Sites); i++ {
		marks[obj.Sites[i].Resume] += fmt.Sprintf(" <%d", i)
	}
	for at := 0; at < len(obj.Text); {
		text, n := c.Disassemble(obj.Text[at:], at)
		fmt.Fprintf(&out, "%-6s %3x  %s\n", marks[at], at, text)
		at += n
	}
	return out.String()
}
