package image

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
)

// TestCilium reads the objects that cilium/ebpf is tested with, made by clang
// 14 to 22 for both byte orders, and compares maps and programs with what
// cilium/ebpf makes of them.
func TestCilium(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cilium/ebpf").Output()
	oracle.Need(t, "cilium/ebpf's sources", err)
	for _, path := range glob(t, filepath.Join(strings.TrimSpace(string(dir)), "testdata", "*.elf")) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			spec, err := ebpf.LoadCollectionSpec(path)
			img, ourErr := LoadFile(path, goldenOptions(""))
			if err != nil {
				return // made to be refused, each for a reason of its own
			}
			switch {
			case ourErr == nil:
				compareSpec(t, spec, img)
			case strings.Contains(ourErr.Error(), "defined in another object"):
				// cilium/ebpf takes undefined functions for absent ones.
			case strings.HasPrefix(filepath.Base(path), "invalid_map"):
				// It keeps what a definition has too many in MapSpec.Extra.
			default:
				t.Fatal(ourErr)
			}
		})
	}
}

func compareSpec(t *testing.T, spec *ebpf.CollectionSpec, img *Image) {
	t.Helper()
	for name, want := range spec.Maps {
		m := img.Map(name)
		if m == nil {
			t.Errorf("no map %s", name)
			continue
		}
		w := []uint32{uint32(want.Type), want.KeySize, want.ValueSize, want.MaxEntries, want.Flags &^ mmapable}
		g := []uint32{uint32(m.Type), m.KeySize, m.ValueSize, m.MaxEntries, m.Flags &^ mmapable}
		if m.Type == catalog.MapPerfEventArray {
			w[1], w[2] = m.KeySize, m.ValueSize // cilium/ebpf puts 0 where the kernel wants 4
		}
		if !slices.Equal(w, g) || m.Extra != want.MapExtra || (want.InnerMap != nil) != (m.Inner != nil) {
			t.Errorf("map %s: %v, cilium/ebpf has %v", name, g, w)
		}
	}
	for name, want := range spec.Programs {
		p := img.Program(name)
		if p == nil && name == "static_fn" {
			continue // a static function in a section of programs: not an entry point, as in libbpf
		}
		if p == nil {
			t.Errorf("no program %s", name)
			continue
		}
		if uint32(p.Type) != uint32(want.Type) || p.Section != strings.TrimPrefix(want.SectionName, "?") {
			t.Errorf("program %s: type %v in %s, cilium/ebpf has %v in %s", name, p.Type, p.Section, want.Type, want.SectionName)
		}
	}
}

// mmapable is BPF_F_MMAPABLE, which the two set by different rules: libbpf
// where there is a variable user space may see.
const mmapable = 1 << 10
