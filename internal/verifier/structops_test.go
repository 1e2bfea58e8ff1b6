package verifier_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// opsStructs are the structures of the running kernel whose members programs can implement.
func opsStructs(t *testing.T) map[string]*btf.Struct {
	t.Helper()
	oracle.Need(t, "bpf(2)", linux.Available())
	spec := kernelBTF()
	if spec == nil {
		oracle.Need(t, "kernel BTF", errno.ENOENT)
	}
	found := map[string]*btf.Struct{}
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(typ.TypeName(), "bpf_struct_ops_")
		if s, isStruct := typ.(*btf.Struct); !ok || !isStruct || len(s.Members) != 2 || s.Members[1].Name != "data" {
			continue
		}
		var ops *btf.Struct
		if spec.TypeByName(name, &ops) != nil {
			continue // bpf_struct_ops_value
		}
		found[name] = ops
	}
	if len(found) == 0 {
		oracle.Need(t, "structures for struct_ops", errno.ENOENT)
	}
	return found
}

// sameOps compares the logs of a program that implements a member, here and in
// the kernel. It reports whether the kernel takes the program.
func sameOps(t *testing.T, name, member string, idx int, text string) bool {
	t.Helper()
	insns, err := isa.Assemble("ops", text, isa.Symbols{})
	if err != nil {
		t.Fatal(err)
	}
	lp := &linux.Prog{Name: "ops", Type: catalog.ProgStructOps, Attach: catalog.AttachType(idx), Insns: insns, License: "GPL", LogLevel: 2}
	lp.AttachTo(kernelBTF(), name)
	want, permitted := kernelSays(t, lp)
	if !permitted {
		t.Fatalf("%s: %s", member, want)
	}
	got := skepSays(&verifier.Program{
		Type: lp.Type, Attach: lp.Attach, AttachTo: name, Insns: insns, GPL: true, KernelBTF: kernelBTF(),
	})
	if got != want {
		t.Errorf("%s of %s:\n%sskep says\n%s\nthe kernel\n%s", member, name, text, got, want)
	}
	return strings.HasPrefix(want[strings.LastIndex(want, "\n")+1:], "processed") && !strings.HasSuffix(want, "EACCES")
}

// TestMembers loads each argument of every member of every structure, there and here.
func TestMembers(t *testing.T) {
	compared := 0
	for name, ops := range opsStructs(t) {
		for idx, m := range ops.Members {
			for arg := range 7 {
				sameOps(t, name, m.Name, idx, fmt.Sprintf("r1 = *(u64 *)(r1 + %d)\nr0 = 0\nexit\n", arg*8))
				compared++
			}
		}
	}
	t.Logf("%d arguments compared", compared)
}

// TestMemberStores stores to every place of what the arguments of members point to.
func TestMemberStores(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of loads")
	}
	stores, taken := 0, 0
	for _, at := range []struct {
		name, member string
		idx          int
		size         int // of the structure
	}{
		{"tcp_congestion_ops", "ssthresh", 0, 2600},
		{"tcp_congestion_ops", "pkts_acked", 5, 16},
		{"bpf_dummy_ops", "test_2", 1, 8},
	} {
		if opsStructs(t)[at.name] == nil {
			continue
		}
		for off := 0; off < at.size; off++ {
			for _, size := range []int{1, 4, 8} {
				if off%size != 0 {
					continue
				}
				arg := 0
				if at.member == "pkts_acked" {
					arg = 8
				}
				stores++
				if sameOps(t, at.name, at.member, at.idx, fmt.Sprintf("r1 = *(u64 *)(r1 + %d)\n*(u%d *)(r1 + %d) = 0\nr0 = 0\nexit\n", arg, size*8, off)) {
					taken++
				}
			}
		}
	}
	if taken == 0 {
		t.Error("the kernel takes none")
	}
	t.Logf("%d stores compared, the kernel takes %d", stores, taken)
}
