package image

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// testKconfig is given to both sides, so that the running kernel's
// configuration does not matter.
const testKconfig = `CONFIG_HZ=300
CONFIG_BPF_SYSCALL=y
CONFIG_NET=m
CONFIG_BPF_JIT=y
CONFIG_DEFAULT_HOSTNAME="(none)"
CONFIG_MISSING_NUMBER=-7
`

// libbpfProg is what libbpf would give the kernel for one program.
type libbpfProg struct {
	Section      string
	Type, Attach int
	Insns        string
	Funcs, Lines string
	fds          map[string]int
}

// libbpfObject is what libbpf makes of an object.
type libbpfObject struct {
	Maps  map[string]string // name → definition
	Progs map[string]*libbpfProg
	errs  []string
}

// needs is the libbpf 1.x that can read a test object, where not every one can;
// never says that none does.
const never = 1000

var needs = map[string]int{
	"exception":    3,     // exception callbacks
	"externs":      2,     // poisons calls of kernel functions that are not there
	"congestion":   never, // the same
	"cubic":        never, // the same
	"structops":    never, // libbpf wants the kernel to have every member
	"arena":        5,
	"legacy":       never,
	"iproute2":     never,
	"hidden":       never,
	"legacy-nobtf": never,
}

// buildOracle compiles testdata/oracle/libbpf.c.
func buildOracle(t *testing.T) string {
	t.Helper()
	gcc := oracle.Tool(t, "gcc", "cc")
	exe := filepath.Join(t.TempDir(), "libbpf")
	out, err := exec.Command(gcc, "-Wall", "-o", exe, "testdata/oracle/libbpf.c", "-lbpf", "-lelf", "-lz").CombinedOutput()
	if err != nil {
		oracle.Need(t, "libbpf-dev", fmt.Errorf("%v\n%s", err, out))
	}
	return exe
}

// libbpfMinor returns x of the libbpf 1.x that the oracle is linked with.
func libbpfMinor(t *testing.T, exe string) int {
	t.Helper()
	out, err := exec.Command(exe, os.DevNull).Output()
	var minor int
	if _, err2 := fmt.Sscanf(string(out), "version 1.%d", &minor); err != nil || err2 != nil {
		t.Fatalf("libbpf's version: %v, %v: %s", err, err2, out)
	}
	return minor
}

func askLibbpf(t *testing.T, exe, object, target string) *libbpfObject {
	t.Helper()
	out, err := exec.Command(exe, object, target, testKconfig).Output()
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	o := &libbpfObject{Maps: map[string]string{}, Progs: map[string]*libbpfProg{}}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch f[0] {
		case "map":
			o.Maps[f[1]] = strings.Join(f[2:], " ")
		case "prog":
			typ, _ := strconv.Atoi(f[3])
			attach, _ := strconv.Atoi(f[4])
			o.Progs[f[1]] = &libbpfProg{Section: f[2], Type: typ, Attach: attach}
		case "fds":
			fds := map[string]int{}
			for _, kv := range f[2:] {
				i := strings.LastIndex(kv, "=")
				fds[kv[:i]], _ = strconv.Atoi(kv[i+1:])
			}
			o.Progs[f[1]].fds = fds
		case "insns":
			o.Progs[f[1]].Insns = f[2]
		case "funcs":
			o.Progs[f[1]].Funcs = strings.Join(f[3:], "")
		case "lines":
			o.Progs[f[1]].Lines = strings.Join(f[3:], "")
		case "error":
			o.errs = append(o.errs, strings.TrimSpace(line))
		}
	}
	return o
}

// asLibbpf puts an image in the same form. Map references become the
// descriptors libbpf had.
func asLibbpf(t *testing.T, img *Image, want *libbpfObject) *libbpfObject {
	t.Helper()
	o := &libbpfObject{Maps: map[string]string{}, Progs: map[string]*libbpfProg{}}
	for _, m := range img.Maps {
		o.Maps[libbpfName(m)] = fmt.Sprintf("%d %d %d %d %d %d %d %d", m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags, m.Extra, m.KeyID, m.ValueID)
	}
	for _, p := range img.Programs {
		if p.Err != nil {
			t.Error(p.Err)
		}
		insns := append([]isa.Instruction(nil), p.Insns...)
		for i := 0; i < len(insns); i++ {
			if !insns[i].IsLoadImm64() {
				continue
			}
			if src := insns[i].Src; src == isa.PseudoMapIdx || src == isa.PseudoMapIdxValue {
				insns[i].Src = src - isa.PseudoMapIdx + isa.PseudoMapFD
				if w := want.Progs[p.Name]; w != nil {
					insns[i].Imm = int32(w.fds[img.Maps[insns[i].Imm].KernelName])
				}
			}
			i++
		}
		o.Progs[p.Name] = &libbpfProg{
			Section: p.Section, Type: int(p.Type), Attach: int(p.Attach),
			Insns: hex.EncodeToString(isa.Encode(insns, img.ByteOrder)),
			Funcs: hex.EncodeToString(p.FuncInfoRecords(img.ByteOrder)),
			Lines: hex.EncodeToString(p.LineInfoRecords(img.ByteOrder)),
		}
	}
	return o
}

// libbpfName is bpf_map__name: section names where libbpf keeps them, else the kernel's.
func libbpfName(m *Map) string {
	if m.Kind == KindDefined || m.Kind == KindStructOps || strings.Count(m.Name, ".") > 1 {
		return m.Name
	}
	return m.KernelName
}

// TestLibbpf links every test object by libbpf and by this package, and
// compares map definitions, instructions, function and line records byte for byte.
func TestLibbpf(t *testing.T) {
	exe := buildOracle(t)
	minor := libbpfMinor(t, exe)
	objs := append(glob(t, "testdata/*.o"), glob(t, "../examples/*/*.o")...)
	for _, path := range objs {
		name := strings.TrimSuffix(filepath.Base(path), ".o")
		if needs[name] == never || strings.HasSuffix(name, "-bigendian") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if minor < needs[name] {
				t.Skipf("libbpf 1.%d is installed, this object needs 1.%d", minor, needs[name])
			}
			if name == "exception" || name == "bpf_for" {
				oracle.DeclTags(t)
			}
			target := "-"
			opts := &Options{Kconfig: testKconfig}
			if name == "core" {
				target = "testdata/core_target.o"
				opts.TargetBTF = func() (*btf.Spec, error) { return btf.LoadSpec(target) }
			}
			want := askLibbpf(t, exe, path, target)
			if len(want.errs) > 0 {
				t.Fatalf("libbpf: %v", want.errs)
			}
			img, err := LoadFile(path, opts)
			if err != nil {
				t.Fatal(err)
			}
			got := asLibbpf(t, img, want)
			if diff := cmp.Diff(want.Maps, got.Maps); diff != "" {
				t.Errorf("maps (-libbpf +ours):\n%s", diff)
			}
			for prog, w := range want.Progs {
				g := got.Progs[prog]
				if g == nil {
					t.Errorf("no program %s", prog)
					continue
				}
				if diff := cmp.Diff(describe(t, w), describe(t, g)); diff != "" {
					t.Errorf("program %s (-libbpf +ours):\n%s", prog, diff)
				}
				delete(got.Progs, prog)
			}
			for prog := range got.Progs {
				t.Errorf("program %s is unknown to libbpf", prog)
			}
		})
	}
}

// describe makes a program a list of lines, so that a difference shows the instruction.
func describe(t *testing.T, p *libbpfProg) []string {
	t.Helper()
	lines := []string{fmt.Sprintf("section %s type %d attach %d", p.Section, p.Type, p.Attach)}
	for _, part := range []struct {
		name, hex string
		size      int
	}{{"insn", p.Insns, isa.InsnSize}, {"func", p.Funcs, FuncInfoSize}, {"line", p.Lines, LineInfoSize}} {
		data, err := hex.DecodeString(part.hex)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; len(data) >= part.size; i++ {
			lines = append(lines, fmt.Sprintf("%s %d: % x", part.name, i, data[:part.size]))
			data = data[part.size:]
		}
	}
	return lines
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("nothing is named %s: %v", pattern, err)
	}
	return names
}
