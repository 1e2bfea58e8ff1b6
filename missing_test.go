package skep_test

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/verify"
)

// What a weak kernel function or a CO-RE relocation did not find is named where the program is refused for it.
func TestMissing(t *testing.T) {
	types, err := btf.LoadSpec("image/testdata/maps.o") // of no kernel
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, skep.MachineOptions{KernelBTF: types})
	img, err := m.LoadImageFile("examples/loops/bpf_for.o")
	if err != nil {
		t.Fatal(err)
	}
	const want = "invalid func unknown#2002000001: the kernel's types have no function bpf_iter_num_new"
	if _, err := m.LoadCollection(img); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	r, err := verify.Load("examples/loops/bpf_for.o", &verify.Options{KernelBTF: types, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	if x := r.Programs[0].Explanation; x == nil || !strings.Contains(x.String(), "bpf_iter_num_new") || !strings.Contains(x.String(), "--btf FILE") {
		t.Errorf("%v", x)
	}
}
