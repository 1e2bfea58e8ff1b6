package testprog

import (
	"slices"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// TestImage: helpers go by their names, with bpf_ or without, maps by their index.
func TestImage(t *testing.T) {
	maps := []*image.Map{{Name: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}}
	img := Image(t, maps, Prog{Name: "p", Type: catalog.ProgXDP, Attach: catalog.AttachXDPDevMap, Text: `
		r1 = map_idx[0] ll
		call bpf_ktime_get_ns
		call ktime_get_ns
		exit`})
	p := img.Program("p")
	if p == nil || p.Type != catalog.ProgXDP || p.Attach != catalog.AttachXDPDevMap || img.License != "GPL" || img.Maps[0] != maps[0] {
		t.Fatalf("%+v, program %+v", img, p)
	}
	call := isa.HelperCall(int32(catalog.FnKtimeGetNs))
	if want := isa.Program(isa.LdMapIdx(isa.R1, 0), call, call, isa.ExitInsn()); !slices.Equal(p.Insns, want) {
		t.Errorf("%v, want %v", p.Insns, want)
	}
}
