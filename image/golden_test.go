package image

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

var update = flag.Bool("update", false, "rebuild testdata/*.o and rewrite testdata/*.golden")

// objects says how each test object is made of testdata/NAME.c (the key, up to
// a "-"): what it needs besides the usual flags.
var objects = map[string][]string{
	"arena":       nil,
	"core":        nil,
	"core_target": nil,
	"data":        nil,
	"exception":   nil,
	"externs":     nil,
	"hidden":      nil,
	"iproute2":    nil,
	"legacy":      nil,
	"maps":        nil,
	"structops":   nil,
	"subprogs":    nil,
	// The same without BTF, and for a big-endian target.
	"legacy-nobtf":          {"-g0"},
	"subprogs-nobtf":        {"-g0"},
	"data-bigendian":        {"-target", "bpfeb"},
	"maps-bigendian":        {"-target", "bpfeb"},
	"core-bigendian":        {"-target", "bpfeb"},
	"core_target-bigendian": {"-target", "bpfeb"},
}

// compile builds testdata/NAME.c as objects says, without debug information
// other than BTF, so that the result depends on the source and the compiler only.
func compile(t *testing.T, name, to string) {
	t.Helper()
	clang, strip := oracle.Tool(t, "clang-19"), oracle.Tool(t, "llvm-strip-19")
	source, _, _ := strings.Cut(name, "-")
	args := append([]string{
		"-O2", "-g", "-target", "bpfel", "-mcpu=v3", "-Wall", "-Wno-unused", "-Wno-visibility",
		"-fdebug-compilation-dir=.", "-c", source + ".c", "-o", to,
	}, objects[name]...)
	cmd := exec.Command(clang, args...)
	cmd.Dir = "testdata"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(strip, "--strip-debug", to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestObjectsAreFresh rebuilds the test objects and fails when a committed one
// is not what its source gives.
func TestObjectsAreFresh(t *testing.T) {
	dir := t.TempDir()
	for name := range objects {
		fresh := filepath.Join(dir, name+".o")
		compile(t, name, fresh)
		want, err := os.ReadFile(fresh)
		if err != nil {
			t.Fatal(err)
		}
		committed := filepath.Join("testdata", name+".o")
		if *update {
			if err := os.WriteFile(committed, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(committed); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale (%v); run go test ./image -update", committed, err)
		}
	}
}

// goldenOptions stand for one certain kernel: core_target.o.
func goldenOptions(name string) *Options {
	target := "testdata/core_target.o"
	if strings.HasSuffix(name, "-bigendian") {
		target = "testdata/core_target-bigendian.o"
	}
	return &Options{
		TargetBTF:     func() (*btf.Spec, error) { return btf.LoadSpec(target) },
		Kconfig:       testKconfig,
		KernelVersion: 0x061200,
		Symbol: func(name string) (uint64, bool) {
			return 0xffffffff81234567, name == "bpf_map_fops"
		},
	}
}

// TestGolden compares everything an image says with testdata/NAME.golden. The
// goldens of objects libbpf can read were checked against libbpf 1.5, byte for byte.
func TestGolden(t *testing.T) {
	for name := range objects {
		t.Run(name, func(t *testing.T) {
			if name == "exception" {
				oracle.DeclTags(t)
			}
			img, err := LoadFile(filepath.Join("testdata", name+".o"), goldenOptions(name))
			if err != nil {
				t.Fatal(err)
			}
			got := dump(img)
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// dump writes an image as text.
func dump(img *Image) string {
	var b strings.Builder
	fmt.Fprintf(&b, "image %s %v license %q version %#x\n", img.Name, img.ByteOrder, img.License, img.KernelVersion)
	for i, m := range img.Maps {
		fmt.Fprintf(&b, "\nmap %d ", i)
		dumpMap(&b, m)
	}
	for _, e := range img.Externs {
		fmt.Fprintf(&b, "\nextern %s: %v, weak %v, resolved %v, id %d, addr %#x, off %d", e.Name, e.Kind, e.Weak, e.Resolved, e.ID, e.Addr, e.Off)
	}
	for _, p := range img.Programs {
		fmt.Fprintf(&b, "\n\nprogram %s: section %s, type %v, attach %d to %q, flags %#x, optional %v\n",
			p.Name, p.Section, p.Type, p.Attach, p.AttachTo, p.Flags, p.Optional)
		if p.Err != nil {
			fmt.Fprintf(&b, "error %v\n", p.Err)
		}
		funcs, lines := p.Funcs, p.Lines
		for i, code := 0, isa.Encode(p.Insns, img.ByteOrder); i < len(p.Insns); i++ {
			for ; len(funcs) > 0 && funcs[0].Slot == i; funcs = funcs[1:] {
				fmt.Fprintf(&b, "%s: %v\n", funcs[0].Func.Name, funcs[0].Func.Linkage)
			}
			for ; len(lines) > 0 && lines[0].Slot == i; lines = lines[1:] {
				l := lines[0]
				fmt.Fprintf(&b, "; %s:%d:%d %s\n", l.File, l.LineNo, l.Column, strings.TrimSpace(l.Line))
			}
			fmt.Fprintf(&b, "%4d: % x\n", i, code[i*isa.InsnSize:][:isa.InsnSize])
		}
	}
	return b.String()
}

func dumpMap(b *strings.Builder, m *Map) {
	fmt.Fprintf(b, "%s (%s): kind %d, type %v, key %d, value %d, entries %d, flags %#x, extra %#x, numa %d, pinning %d, id %d, freeze %v, optional %v\n",
		m.Name, m.KernelName, m.Kind, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags, m.Extra, m.NUMANode, m.Pinning, m.ID, m.Freeze, m.Optional)
	if m.Key != nil || m.Value != nil {
		fmt.Fprintf(b, "\tkey %v, value %v\n", m.Key, m.Value)
	}
	if ds, ok := m.Value.(*btf.Datasec); ok {
		for _, v := range ds.Vars {
			fmt.Fprintf(b, "\t%d: %s, %d bytes, %v\n", v.Offset, v.Type.TypeName(), v.Size, v.Type.(*btf.Var).Linkage)
		}
	}
	if m.Inner != nil {
		b.WriteString("\tinner ")
		dumpMap(b, m.Inner)
	}
	for _, s := range m.Slots {
		if s.Map != nil {
			fmt.Fprintf(b, "\tslot %d: map %s\n", s.Key, s.Map.Name)
		} else {
			fmt.Fprintf(b, "\tslot %d: program %s\n", s.Key, s.Prog.Name)
		}
	}
	if m.Data != nil {
		fmt.Fprintf(b, "\tdata % x\n", m.Data)
	}
	if m.StructOps != nil {
		for _, op := range m.StructOps.Members {
			fmt.Fprintf(b, "\tmember %s at %d: program %s\n", op.Name, op.Off, op.Prog.Name)
		}
	}
}
