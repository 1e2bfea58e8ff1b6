// Package testprog makes images of assembly text, for tests that need a program
// rather than an object file.
package testprog

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// Prog is one program: its text refers to the image's maps as map_idx[N].
type Prog struct {
	Name   string
	Type   catalog.ProgType
	Attach catalog.AttachType
	Text   string
}

// Image assembles programs into a GPL image with the given maps.
func Image(t testing.TB, maps []*image.Map, progs ...Prog) *image.Image {
	t.Helper()
	img := &image.Image{Name: "test", ByteOrder: binary.NativeEndian, License: "GPL", Maps: maps}
	for _, p := range progs {
		insns, err := isa.Assemble(p.Name, p.Text, isa.Symbols{Helper: helperID})
		if err != nil {
			t.Fatal(err)
		}
		img.Programs = append(img.Programs, &image.Program{
			Name: p.Name, Type: p.Type, Attach: p.Attach, Insns: insns,
		})
	}
	return img
}

// helperID finds "bpf_map_lookup_elem" among the catalog's rows.
func helperID(name string) (int32, bool) {
	h := catalog.HelperByName(strings.TrimPrefix(name, "bpf_"))
	if h == nil {
		return 0, false
	}
	return int32(h.ID), true
}
