package btfdump

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// vmlinux are the running kernel's types.
const vmlinux = "/sys/kernel/btf/vmlinux"

// inputs are files with BTF: our own objects, and the running kernel's types.
func inputs(t *testing.T) []string {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.o")
	more, _ := filepath.Glob("../../examples/*/*.o")
	if len(more) < 5 || len(files) == 0 {
		t.Fatal("the objects are gone")
	}
	if _, err := os.Stat(vmlinux); err == nil {
		more = append(more, vmlinux)
	}
	return append(files, more...)
}

func load(t testing.TB, path string) *rawbtf.BTF {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(data, nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

// all are the ids of all types.
func all(b *rawbtf.BTF) []int {
	ids := make([]int, 0, b.Count())
	for id := b.First(); id < b.Count(); id++ {
		ids = append(ids, id)
	}
	return ids
}

// TestRawAsBpftool: the list of types is bpftool's, byte for byte, in text and JSON.
func TestRawAsBpftool(t *testing.T) {
	_, err := exec.LookPath("bpftool")
	oracle.Need(t, "bpftool", err)
	for _, path := range inputs(t) {
		b := load(t, path)
		var text, js bytes.Buffer
		if err := WriteRaw(&text, b, all(b)); err != nil {
			t.Fatal(err)
		}
		if err := WriteJSON(&js, b, all(b), false); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			flag string
			ours []byte
		}{{"", text.Bytes()}, {"-j", js.Bytes()}} {
			args := []string{"btf", "dump", "file", path}
			if c.flag != "" {
				args = append([]string{c.flag}, args...)
			}
			out, err := exec.Command("bpftool", args...).Output()
			if err != nil {
				t.Fatalf("bpftool %v: %v", args, err)
			}
			out, c.ours = narrow(out), narrow(c.ours)
			if !bytes.Equal(bytes.TrimSpace(out), bytes.TrimSpace(c.ours)) {
				theirs, ours := bytes.Split(out, []byte("\n")), bytes.Split(c.ours, []byte("\n"))
				for i := range min(len(theirs), len(ours)) {
					if !bytes.Equal(theirs[i], ours[i]) {
						same := 0
						for same < min(len(theirs[i]), len(ours[i])) && theirs[i][same] == ours[i][same] {
							same++
						}
						from := max(same-100, 0)
						t.Errorf("%s %s, line %d, column %d:\nbpftool %.200s\nskep    %.200s", path, c.flag, i+1, same, theirs[i][from:], ours[i][from:])
						break
					}
				}
			}
		}
	}
}

// wideValue is a constant of an enum as some bpftool prints it in JSON: of 32
// bits and without sign, and yet sign-extended.
var wideValue = regexp.MustCompile(`"val":184467440[67]\d{10}\b`)

// narrow makes such constants alike, whoever printed them.
func narrow(js []byte) []byte {
	return wideValue.ReplaceAllFunc(js, func(m []byte) []byte {
		v, _ := strconv.ParseUint(string(m[len(`"val":`):]), 10, 64)
		return fmt.Appendf(nil, `"val":%d`, uint32(v))
	})
}

// place is where a member lies.
type place struct {
	Name         string
	Offset, Bits uint32
	Size         uint64
}

// places lists a struct's members with those of unnamed ones within it.
func places(l *layout, b *rawbtf.BTF, id int, at uint32) []place {
	var ps []place
	for _, m := range members(b, id) {
		typ := plain(b, m.typ)
		if k := b.Kind(typ); m.name == "" && (k == rawbtf.KindStruct || k == rawbtf.KindUnion) {
			ps = append(ps, places(l, b, typ, at+m.offset)...)
			continue
		}
		if m.name != "" && !strings.HasPrefix(m.name, "__skip_") {
			ps = append(ps, place{m.name, at + m.offset, m.bits, l.size(m.typ)})
		}
	}
	return ps
}

// key names a struct or union in C.
type key struct {
	kind rawbtf.Kind
	name string
}

// declarations returns the types of a file as C, and the ids of structs and unions.
func declarations(b *rawbtf.BTF) (*bytes.Buffer, map[key]int) {
	var c bytes.Buffer
	p := newPrinter(b, bufio.NewWriter(&c))
	p.all(all(b))
	p.w.Flush()
	ids := map[key]int{}
	for id := 1; id < b.Count(); id++ {
		if k := b.Kind(id); (k == rawbtf.KindStruct || k == rawbtf.KindUnion) && b.Name(id) != "" {
			ids[key{k, p.name(id)}] = id
		}
	}
	return &c, ids
}

var keywords = map[rawbtf.Kind]string{rawbtf.KindStruct: "struct ", rawbtf.KindUnion: "union "}

func compile(t *testing.T, source []byte, args ...string) string {
	t.Helper()
	clang := oracle.Tool(t, "clang-19")
	dir := t.TempDir()
	src, obj := filepath.Join(dir, "t.c"), filepath.Join(dir, "t.o")
	if err := os.WriteFile(src, source, 0o644); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--target=bpf", "-Wall", "-Werror", "-Wno-missing-declarations", "-Wno-visibility", "-c", src, "-o", obj)
	if out, err := exec.Command(clang, args...).CombinedOutput(); err != nil {
		t.Fatalf("clang: %v\n%.3000s", err, out)
	}
	return obj
}

// TestCMakesTheSameTypes compiles the declarations, and compares the types that
// come out with those that went in: sizes, members, places, widths.
func TestCMakesTheSameTypes(t *testing.T) {
	for _, path := range inputs(t) {
		if path == vmlinux {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			b := load(t, path)
			c, want := declarations(b)
			for k, id := range want { // so that the compiler tells of all
				fmt.Fprintf(c, "%s%s *skep_%d;\n", keywords[k.kind], k.name, id)
			}
			got := load(t, compile(t, c.Bytes(), "-g"))
			lb, lg := newLayout(b), newLayout(got)
			for id := 1; id < got.Count(); id++ {
				k := key{got.Kind(id), got.Name(id)}
				from, ok := want[k]
				if !ok {
					continue
				}
				if w, g := b.Word(from, 2), got.Word(id, 2); w != g {
					t.Errorf("%s: %d bytes, was %d", k.name, g, w)
				}
				if diff := cmp.Diff(places(&lb, b, from, 0), places(&lg, got, id, 0)); diff != "" {
					t.Errorf("%s: − was, + is\n%s", k.name, diff)
				}
				delete(want, k)
			}
			for k := range want {
				t.Errorf("%s is not among the types that came out", k.name)
			}
		})
	}
}

// TestCOfTheKernel compiles the running kernel's types with a claim about every
// member that is no bit field.
func TestCOfTheKernel(t *testing.T) {
	_, err := os.Stat(vmlinux)
	oracle.Need(t, "the kernel's BTF", err)
	b := load(t, vmlinux)
	c, structs := declarations(b)
	l := newLayout(b)
	claims := 0
	for k, id := range structs {
		if k.name == "warn_args" { // has a va_list, which is another one on every machine
			continue
		}
		name := keywords[k.kind] + k.name
		fmt.Fprintf(c, "_Static_assert(sizeof(%s) == %d, \"\");\n", name, b.Word(id, 2))
		for _, m := range places(&l, b, id, 0) {
			if m.Bits == 0 {
				fmt.Fprintf(c, "_Static_assert(__builtin_offsetof(%s, %s) == %d, \"\");\n", name, m.Name, m.Offset/8)
				claims++
			}
		}
	}
	if claims < 10_000 {
		t.Errorf("only %d members", claims)
	}
	compile(t, c.Bytes(), "-fsyntax-only")
}

var update = flag.Bool("update", false, "write goldens anew")

// TestGolden: what testdata/kinds.o is shown as, without any oracle.
func TestGolden(t *testing.T) {
	b := load(t, "testdata/kinds.o")
	for ext, write := range map[string]func(io.Writer) error{
		"raw":  func(w io.Writer) error { return WriteRaw(w, b, all(b)) },
		"json": func(w io.Writer) error { return WriteJSON(w, b, all(b), true) },
		"h":    func(w io.Writer) error { return WriteC(w, b, all(b)) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		golden := "testdata/kinds." + ext
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s: − golden, + now\n%s", golden, diff)
		}
	}
}

// TestObjectIsItsSource: testdata/kinds.o has the types of kinds.c.
func TestObjectIsItsSource(t *testing.T) {
	source, err := os.ReadFile("testdata/kinds.c")
	if err != nil {
		t.Fatal(err)
	}
	fresh := load(t, compile(t, source, "-g", "-O1", "-Wno-everything"))
	var was, is bytes.Buffer
	b := load(t, "testdata/kinds.o")
	if err := errors.Join(WriteRaw(&was, b, all(b)), WriteRaw(&is, fresh, all(fresh))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(was.String(), is.String()); diff != "" {
		t.Errorf("make it anew: clang-19 -g -O1 --target=bpf, then llvm-strip-19 -g\n%s", diff)
	}
}

// FuzzLoad: whatever the bytes, they are refused or can be shown.
func FuzzLoad(f *testing.F) {
	data, err := os.ReadFile("testdata/kinds.o")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	b := load(f, "testdata/kinds.o")
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Load(data, nil)
		if err != nil {
			return
		}
		if err := errors.Join(WriteRaw(io.Discard, b, all(b)), WriteJSON(io.Discard, b, all(b), false), WriteC(io.Discard, b, all(b))); err != nil {
			t.Error(err)
		}
	})
}
