package isa_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// TestClangObjects compiles the C sources of testdata for every processor
// version and byte order, and compares disassembly with llvm-objdump's.
func TestClangObjects(t *testing.T) {
	clang := oracle.Tool(t, "clang-19")
	sources, err := filepath.Glob("testdata/*.c")
	if err != nil || len(sources) < 3 {
		t.Fatalf("sources: %v, %v", sources, err)
	}
	for _, source := range sources {
		for _, target := range []string{"bpfel", "bpfeb"} {
			for _, cpu := range []string{"v1", "v2", "v3", "v4"} {
				name := strings.Join([]string{filepath.Base(source), target, cpu}, "-")
				t.Run(name, func(t *testing.T) {
					object := filepath.Join(t.TempDir(), name+".o")
					run(t, clang, "-O2", "-target", target, "-mcpu="+cpu, "-c", source, "-o", object)
					compareWithObjdump(t, object)
				})
			}
		}
	}
}

// TestExampleObjects does the same with the committed example objects.
func TestExampleObjects(t *testing.T) {
	objects, err := filepath.Glob("../examples/*/*.o")
	if err != nil || len(objects) == 0 {
		t.Fatalf("examples: %v, %v", objects, err)
	}
	for _, object := range objects {
		t.Run(filepath.Base(object), func(t *testing.T) { compareWithObjdump(t, object) })
	}
}

func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// compareWithObjdump decodes every code section of an object and holds against
// llvm-objdump: our text line for line, its text assembled by us, our own
// text assembled, and the encoding.
func compareWithObjdump(t *testing.T, object string) {
	objdump := oracle.Tool(t, "llvm-objdump-19")
	file, err := elf.Open(object)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, section := range file.Sections {
		if section.Flags&elf.SHF_EXECINSTR == 0 || section.Size == 0 {
			continue
		}
		code, err := section.Data()
		if err != nil {
			t.Fatal(err)
		}
		prog, err := isa.Decode(code, file.ByteOrder)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(isa.Encode(prog, file.ByteOrder), code) {
			t.Errorf("%s: encoding differs", section.Name)
		}
		if back, err := isa.Assemble(section.Name, listing(t, isa.Assembly, prog), isa.Symbols{}); err != nil || !slices.Equal(back, prog) {
			t.Errorf("%s: our own text does not assemble to the same: %v", section.Name, err)
		}
		for dialect, args := range map[isa.Dialect][]string{isa.LLVM: nil, isa.LLVMALU32: {"--mcpu=v4"}} {
			args := append(args, "-d", "-z", "--section="+section.Name, object)
			theirs := instructionLines(run(t, objdump, args...))
			compareLines(t, dialect, prog, theirs)
			compareAssembled(t, dialect, prog, theirs)
		}
	}
}

// instructionLines drops headings and labels.
func instructionLines(text string) (lines []string) {
	instruction := regexp.MustCompile(`^ *[0-9]+:\t`)
	for line := range strings.Lines(text) {
		if instruction.MatchString(line) {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return lines
}

var (
	rawBytes = regexp.MustCompile(`\t([0-9a-f]{2} )+[0-9a-f]{2}\t`)
	note     = regexp.MustCompile(` <[^<>= ]+>$`) // where a jump goes, relative to a symbol
)

func compareLines(t *testing.T, dialect isa.Dialect, prog []isa.Instruction, theirs []string) {
	t.Helper()
	ours := strings.Split(strings.TrimSpace(listing(t, dialect, prog)), "\n")
	if len(ours) != len(theirs) {
		t.Fatalf("%d instructions, llvm-objdump has %d", len(ours), len(theirs))
	}
	pc := 0
	for i, line := range theirs {
		ins := prog[pc]
		pc += slots(ins)
		want := strings.TrimSpace(note.ReplaceAllString(rawBytes.ReplaceAllString(line, "\t"), ""))
		if got := strings.TrimSpace(ours[i]); got != want && !llvmMisprints(dialect, ins) {
			t.Errorf("%s\n  llvm: %s", got, want)
		}
	}
}

func slots(ins isa.Instruction) int {
	if ins.IsLoadImm64() {
		return 2
	}
	return 1
}

// llvmMisprints tells the few forms whose text by llvm-objdump 19 is wrong.
func llvmMisprints(dialect isa.Dialect, ins isa.Instruction) bool {
	r := isa.Lookup(ins)
	switch {
	case r == nil:
		return false
	case r.Group == isa.GroupAtomic32 && dialect == isa.LLVM:
		return ins.Imm != isa.AtomicAdd // a 64-bit add, or <unknown>
	case ins.Op.Class() == isa.ClassSTX && r.Group == isa.GroupLinux:
		return true // an add, or <unknown>: LLVM 20 brought load_acquire and store_release
	case r.Group == isa.GroupPacket:
		return ins.Op.Mode() == isa.ModeIND && ins.Imm != 0 // left out
	}
	return false
}

func compareAssembled(t *testing.T, dialect isa.Dialect, prog []isa.Instruction, theirs []string) {
	t.Helper()
	for pc, i := 0, 0; pc < len(prog); i++ {
		want := prog[pc:][:slots(prog[pc])]
		pc += len(want)
		if llvmMisprints(dialect, want[0]) {
			continue
		}
		got, err := isa.Assemble("objdump", theirs[i], isa.Symbols{})
		if err != nil {
			t.Error(err)
			continue
		}
		if want[0].IsLocalCall() || want[0].IsKfuncCall() {
			got[0].Src = want[0].Src // llvm-objdump does not say what it calls
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\n assembled as %+v, want %+v", theirs[i], got, want)
		}
	}
}

func listing(t *testing.T, dialect isa.Dialect, prog []isa.Instruction) string {
	t.Helper()
	var text strings.Builder
	if err := (&isa.Printer{Dialect: dialect}).Listing(&text, prog); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestClangAssembles gives clang our text of every row that it can know, and
// llvm-objdump the result, in both byte orders.
func TestClangAssembles(t *testing.T) {
	clang := oracle.Tool(t, "clang-19")
	var prog []isa.Instruction
	for i := range isa.Table {
		r := &isa.Table[i]
		if r.Src == isa.Selector && r.SrcIs != 0 { // pseudo loads and calls: LLVM leaves them to relocation
			continue
		}
		for _, ins := range isa.Instances(r) {
			if llvmMisprints(isa.LLVMALU32, ins) || ins.IsExit() && ins.Off != 0 ||
				r.Name == "gotol" && ins.Imm != int32(int16(ins.Imm)) { // written as a label there
				continue
			}
			prog = append(prog, ins)
			if r.Slots() == 2 {
				prog = append(prog, isa.Instruction{Imm: -5})
			}
		}
	}
	var text strings.Builder
	for pc := 0; pc < len(prog); pc += slots(prog[pc]) {
		text.WriteString(new(isa.Printer).Text(prog, pc) + "\n")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "rows.s")
	if err := os.WriteFile(source, []byte(text.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	for target, order := range map[string]binary.ByteOrder{"bpfel": binary.LittleEndian, "bpfeb": binary.BigEndian} {
		object := filepath.Join(dir, target+".o")
		run(t, clang, "-target", target, "-mcpu=v4", "-c", source, "-o", object)
		file, err := elf.Open(object)
		if err != nil {
			t.Fatal(err)
		}
		code, err := file.Section(".text").Data()
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if theirs, err := isa.Decode(code, order); err != nil || !slices.Equal(theirs, prog) {
			for i := range min(len(theirs), len(prog)) {
				if theirs[i] != prog[i] {
					t.Fatalf("%s: slot %d: %v is %+v, clang has %+v", target, i, prog[i], prog[i], theirs[i])
				}
			}
			t.Fatalf("%s: %d slots, clang has %d, %v", target, len(prog), len(theirs), err)
		}
		compareWithObjdump(t, object)
	}
}
