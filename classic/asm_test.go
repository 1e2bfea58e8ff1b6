package classic

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestAssemblyGoldens assembles each text of testdata/asm.txtar, whose files
// come in twos: NAME and NAME.out, which has every format of the program.
func TestAssemblyGoldens(t *testing.T) {
	const file = "testdata/asm.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out txtar.Archive
	out.Comment = archive.Comment
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".out") {
			continue
		}
		var got []byte
		prog, err := Assemble(f.Name, string(f.Data), nil)
		if err != nil {
			got = []byte("error: " + err.Error() + "\n")
		}
		for _, format := range []Format{Assembly, Listing, CArray, Decimal, AsmC, AsmLine} {
			if err == nil {
				got = append(AppendProgram(got, prog, format), '\n')
			}
		}
		if err == nil {
			got = got[:len(got)-1]
			for _, format := range []Format{Assembly, Listing} {
				text := string(AppendProgram(nil, prog, format))
				if strings.Contains(text, "unimp") {
					continue
				}
				again, err := Assemble("again", text, nil)
				if err != nil || !slices.Equal(again, prog) {
					t.Errorf("%s: its text in format %d gives %v, %v", f.Name, format, again, err)
				}
			}
		}
		out.Files = append(out.Files, f, txtar.File{Name: f.Name + ".out", Data: got})
		if !*update && string(got) != want[f.Name+".out"] {
			t.Errorf("%s:\n%s\nwant\n%s", f.Name, got, want[f.Name+".out"])
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(&out), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// canonical returns an instance of a row that its text tells all about.
func canonical(r *Row, n int) Instruction {
	ins := Instruction{Code: r.Code}
	switch r.Form {
	case FormAbs, FormInd, FormMSH:
		ins.K = uint32(n * 3)
	case FormMem, FormImm:
		ins.K = uint32(n%15 + 1)
	case FormCondK:
		ins.K, ins.Jt, ins.Jf = uint32(n), 1, 0
	case FormCondX:
		ins.Jt = 1
	case FormLabel:
		ins.K = 0
	}
	return ins
}

// everyRow is a program with an instance of each row.
func everyRow() []Instruction {
	var prog []Instruction
	for i := range Rows {
		prog = append(prog, canonical(&Rows[i], i))
	}
	for _, anc := range AncillaryRows {
		prog = append(prog, Instruction{Code: LD | W | ABS, K: anc.ID.K()})
	}
	return append(prog, Instruction{Code: RET | K})
}

func TestEveryRowHasAText(t *testing.T) {
	prog := everyRow()
	text := string(AppendProgram(nil, prog, Assembly))
	if strings.Contains(text, rawMnemonic) {
		t.Errorf("rows without a text:\n%s", text)
	}
	got, err := Assemble("rows", text, nil)
	if err != nil || !slices.Equal(got, prog) {
		t.Errorf("%v\ngives\n%v, %v\nwant\n%v", text, got, err, prog)
	}
}

func TestSymbolsOfTheCaller(t *testing.T) {
	symbols := DefaultSymbols()
	symbols["PORT"] = 8080
	prog, err := Assemble("t", "jeq #PORT, yes\nret #FALSE\nyes: ret #TRUE", symbols)
	if err != nil || prog[0].K != 8080 || prog[1].K != 0 || prog[2].K != 1 {
		t.Errorf("%v, %v", prog, err)
	}
	if _, err := Assemble("t", "ret #PORT", nil); !errors.Is(err, ErrSyntax) {
		t.Errorf("a symbol of another table: %v", err)
	}
}

func FuzzAssemble(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/asm.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		prog, err := Assemble("fuzz", text, nil)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) || s.Line < 1 || s.Col < 1 {
				t.Fatalf("%#v", err)
			}
			return
		}
		// Back jumps of ja leave the program where the labels before it end.
		if Check(prog, Libpcap) != nil {
			return
		}
		again, err := Assemble("again", string(AppendProgram(nil, prog, Assembly)), nil)
		if err != nil || !slices.Equal(again, prog) {
			t.Fatalf("%s\ngives %v, %v", AppendProgram(nil, prog, Assembly), again, err)
		}
	})
}
