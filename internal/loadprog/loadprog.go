// Package loadprog makes of a program of an image what bpf(2) is given of it.
package loadprog

import (
	"slices"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
)

// For is program p of img for the verifier. The maps that its loads name by
// their index in img are mapByIdx's; descriptors it has none. What is not the
// image's is left to the caller: whether the licence is GPL compatible, the
// kernel's types and symbols.
func For(img *image.Image, p *image.Program, mapByIdx func(int32) *catalog.MapDef) *verifier.Program {
	vp := &verifier.Program{
		Name: p.Name, Type: p.Type, Attach: p.Attach, Flags: p.Flags, Insns: p.Insns,
		BTF: img.BTF, AttachTo: p.AttachTo,
		MapByFD:  func(int32) *catalog.MapDef { return nil },
		MapByIdx: mapByIdx,
	}
	vp.Funcs = slices.Grow(vp.Funcs, len(p.Funcs)) // nil where there are none
	for _, f := range p.Funcs {
		vp.Funcs = append(vp.Funcs, verifier.FuncInfo{Slot: f.Slot, Func: f.Func})
	}
	vp.Lines = slices.Grow(vp.Lines, len(p.Lines))
	for _, l := range p.Lines {
		vp.Lines = append(vp.Lines, verifier.LineInfo{Slot: l.Slot, File: l.File, Line: l.Line, LineNo: l.LineNo, Column: l.Column})
	}
	return vp
}
