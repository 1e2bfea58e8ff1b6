package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// sectionAt returns where a section of an object file lies in the file.
func sectionAt(t *testing.T, object []byte, name string) (off, size int) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(name)
	if s == nil {
		t.Fatalf("no section %s", name)
	}
	return int(s.Offset), int(s.Size)
}

// TestBadObjects damages real objects. Each gives one line that names the file
// and the place.
func TestBadObjects(t *testing.T) {
	put := func(section string, at int, value uint32) func(*testing.T, []byte) []byte {
		return func(t *testing.T, b []byte) []byte {
			off, _ := sectionAt(t, b, section)
			binary.LittleEndian.PutUint32(b[off+at:], value)
			return b
		}
	}
	cut := func(n int) func(*testing.T, []byte) []byte {
		return func(_ *testing.T, b []byte) []byte { return b[:n] }
	}
	for _, c := range []struct {
		name, object string
		damage       func(t *testing.T, b []byte) []byte
		want         error
		text         string // after "bad.o: "
	}{
		{"empty", "maps.o", cut(0), ErrNotELF, "not an ELF file: it is empty"},
		{"text", "maps.c", nil, ErrNotELF, "not an ELF file: it is text: an object is what clang -O2 -g -target bpf -c makes of C"},
		{"bitcode", "maps.o", func(_ *testing.T, b []byte) []byte { return append([]byte("BC\xc0\xde"), b...) }, ErrNotELF,
			"not an ELF file: it is LLVM bitcode: compile without -emit-llvm and -flto"},
		{"neither", "maps.o", func(_ *testing.T, b []byte) []byte { return b[1:] }, ErrNotELF, "not an ELF file"},
		{"header only", "maps.o", cut(40), ErrTruncated, "truncated or corrupt ELF file: "},
		{"half", "maps.o", cut(3000), ErrTruncated, "truncated or corrupt ELF file: "},
		{"other machine", "maps.o", func(_ *testing.T, b []byte) []byte { b[18] = 62; return b }, ErrNotBPF,
			"not a BPF object: ELF type ET_REL for machine EM_X86_64: clang -O2 -g -target bpf -c makes one"},
		{"executable", "maps.o", func(_ *testing.T, b []byte) []byte { b[16] = 2; return b }, ErrNotBPF,
			"not a BPF object: ELF type ET_EXEC for machine EM_BPF: clang -O2 -g -target bpf -c makes one"},
		{"without -g", "maps.o", func(_ *testing.T, b []byte) []byte { return bytes.ReplaceAll(b, []byte(".BTF"), []byte(".FTB")) }, ErrBadMap,
			"section .maps: bad map definition: maps are defined by BTF, and there is none: compile with -g"},
		{"BTF magic", "maps.o", put(".BTF", 0, 0), ErrBadBTF, "section .BTF: bad BTF: magic 0x0000"},
		{"BTF types beyond the end", "maps.o", put(".BTF", 12, 1<<30), ErrBadBTF, "section .BTF: bad BTF: part at 0 with 1073741824 bytes ends beyond the section"},
		{"BTF.ext record size", "maps.o", put(".BTF.ext", 32, 6), ErrBadBTF, "section .BTF.ext: function info: bad BTF: records of 6 bytes"},
		{"legacy map without type", "legacy.o", put("maps", 0, 0), ErrBadMap, "section maps: packets: bad map definition: no type"},
		{"inner map is missing", "iproute2.o", put("maps", 2*36+20, 6), ErrBadMap, "section maps: outer: bad map definition: no map with id 5 for inner_id"},
		{"pinning of iproute2", "iproute2.o", put("maps", 36+24, 9), ErrNotSupported, "section maps: shared: not supported: pinning 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			object, err := os.ReadFile("testdata/" + c.object)
			if err != nil {
				t.Fatal(err)
			}
			if c.damage != nil {
				object = c.damage(t, object)
			}
			_, err = Load(bytes.NewReader(object), "bad.o", goldenOptions(""))
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err == nil || !strings.HasPrefix(err.Error(), "bad.o: "+c.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v\nwant bad.o: %s", err, c.text)
			}
		})
	}
}

// TestDeferredErrors: what one program lacks does not keep the others from being linked.
func TestDeferredErrors(t *testing.T) {
	opts := goldenOptions("")
	opts.Symbol = nil
	nowhere := func() (*btf.Spec, error) { return nil, errors.New("no such kernel") }

	opts.TargetBTF = nowhere
	img, err := LoadFile("testdata/externs.o", opts)
	if err != nil {
		t.Fatal(err)
	}
	if p := img.Program("config"); p.Err != nil {
		t.Error(p.Err)
	}
	if err := img.Program("kernel").Err; !errors.Is(err, ErrNoTarget) ||
		err.Error() != `testdata/externs.o: section xdp: kernel: insn 4: no kernel BTF to relocate against: no such kernel` {
		t.Error(err)
	}

	opts.TargetBTF = func() (*btf.Spec, error) { return btf.LoadSpec("testdata/maps.o") }
	img, err = LoadFile("testdata/externs.o", opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Program("kernel").Err; !errors.Is(err, ErrUnresolved) ||
		err.Error() != `testdata/externs.o: section xdp: kernel: insn 4: not found in the target kernel: kernel function "bpf_iter_num_new"` {
		t.Error(err)
	}

	opts.TargetBTF = nowhere
	img, err = LoadFile("testdata/core.o", opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Program("fields").Err; !errors.Is(err, ErrNoTarget) || !strings.Contains(err.Error(), "no such kernel") {
		t.Error(err)
	}
}

// TestMissingFile: LoadFile passes on what the system says.
func TestMissingFile(t *testing.T) {
	if _, err := LoadFile("testdata/none.o", nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestDirectory: what is no file is not called one without ELF in it.
func TestDirectory(t *testing.T) {
	if _, err := LoadFile("testdata", nil); !errors.Is(err, ErrNotELF) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
}
