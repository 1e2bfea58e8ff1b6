package isa

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGoldenTexts holds the table, an instance of every row in every dialect,
// against testdata/rows.golden.
func TestGoldenTexts(t *testing.T) {
	names := Names{
		Helper: func(id int32) string { return fmt.Sprintf("bpf_helper%d", id) },
		Kfunc:  func(id int32, _ int16) string { return fmt.Sprintf("bpf_kfunc%d", id) },
		Func:   func(slot int) string { return fmt.Sprintf("func%d", slot) },
	}
	var text strings.Builder
	for i := range Table {
		r := &Table[i]
		prog := []Instruction{{Op: r.Op, Dst: 3, Src: 4, Off: -8, Imm: 100}, {}}[:r.Slots()]
		ins := &prog[0]
		if r.Dst == Reserved {
			ins.Dst = 0
		}
		if r.Src == Reserved || r.Src == Selector {
			ins.Src = r.SrcIs
		}
		if v := r.Off.Values(); v != nil {
			ins.Off = int16(v[0])
		}
		if v := r.Imm.Values(); v != nil {
			ins.Imm = v[0]
		}
		fmt.Fprintf(&text, "%s: %d bits, %v, %s: %s\n", r.Name, r.Width, r.CPU, r.Group, r.Doc)
		fmt.Fprintf(&text, "\tbytes    % x\n", Encode(prog, binary.LittleEndian))
		for d, name := range [dialects]string{"assembly", "llvm", "alu32", "kernel"} {
			plain := Printer{Dialect: Dialect(d)}
			named := Printer{Dialect: Dialect(d), Names: names}
			fmt.Fprintf(&text, "\t%-8s %s\n", name, plain.Text(prog, 0))
			if with := named.Text(prog, 0); with != plain.Text(prog, 0) {
				fmt.Fprintf(&text, "\t         %s\n", with)
			}
		}
	}
	const file = "testdata/rows.golden"
	if *update {
		if err := os.WriteFile(file, []byte(text.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(string(golden), "\n")
	for i, line := range strings.Split(text.String(), "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("line %d is %q, differs from %s; -update rewrites it", i+1, line, file)
		}
	}
	if len(golden) != text.Len() {
		t.Fatalf("%s has rows that are no more; -update rewrites it", file)
	}
}
