package main

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
)

// object is an object file with its maps as a program sees them.
type object struct {
	img   *image.Image
	defs  []*catalog.MapDef
	progs map[string]*image.Program
	// Annotations of the programs, which are type tags of their functions.
	flags    map[string]uint32
	messages map[string][]string
}

func loadObject(path string, kernel *btf.Spec, cpus int) (*object, error) {
	img, err := image.LoadFile(path, &image.Options{TargetBTF: func() (*btf.Spec, error) { return kernel, nil }})
	if err != nil {
		return nil, err
	}
	if img.ByteOrder != binary.LittleEndian {
		return nil, errors.New("big-endian")
	}
	o := &object{img: img, progs: map[string]*image.Program{}, flags: map[string]uint32{}, messages: map[string][]string{}}
	for _, m := range img.Maps {
		o.defs = append(o.defs, mapDef(m, cpus))
	}
	for _, p := range img.Programs {
		o.progs[p.Name] = p
		if len(p.Funcs) > 0 {
			o.annotate(p.Name, p.Funcs[0].Func.Tags)
		}
	}
	return o, nil
}

// testFlags are the load flags that annotations name.
var testFlags = map[string]uint32{
	"BPF_F_STRICT_ALIGNMENT": 1 << 0, "BPF_F_ANY_ALIGNMENT": 1 << 1, "BPF_F_TEST_RND_HI32": 1 << 2,
	"BPF_F_TEST_STATE_FREQ": 1 << 3, "BPF_F_SLEEPABLE": 1 << 4, "BPF_F_XDP_HAS_FRAGS": 1 << 5,
	"BPF_F_TEST_REG_INVARIANTS": 1 << 7,
}

// Flags that the kernel's own loader of these programs gives to all of them.
const loaderFlags = 1<<2 | 1<<7

// annotate reads what the declaration tags of a program say: its load flags,
// and the words the privileged log is to have.
func (o *object) annotate(prog string, tags []string) {
	flags := uint32(loaderFlags)
	for _, tag := range tags {
		// A number keeps equal tags apart: here, or before the words.
		tag = strings.TrimLeft(strings.TrimPrefix(tag, "comment:"), "0123456789:")
		key, val, _ := strings.Cut(tag, "=")
		switch key {
		case "test_prog_flags":
			val, off := strings.CutPrefix(val, "!")
			bits, known := testFlags[val]
			if !known {
				n, _ := strconv.ParseUint(val, 0, 32)
				bits = uint32(n)
			}
			if off {
				flags &^= bits
			} else {
				flags |= bits
			}
		case "test_expect_msg":
			if n, words, ok := strings.Cut(val, "="); ok && strings.Trim(n, "0123456789") == "" {
				val = words
			}
			o.messages[prog] = append(o.messages[prog], val)
		}
	}
	o.flags[prog] = flags
}

// mapDef is what a map is once it is made: its definition, with the special
// fields of its values and the constants it is filled with.
func mapDef(m *image.Map, cpus int) *catalog.MapDef {
	d := m.Def(cpus)
	for in := d; in != nil; in = in.Inner {
		if in.Value != nil {
			in.Special, _ = catalog.FindSpecial(in.Value, false) // the kernel ignores the error too
		}
	}
	if m.Freeze && m.Flags&catalog.FlagRdonlyProg != 0 {
		d.ReadConst = func(off uint32, b []byte) bool {
			if uint64(off)+uint64(len(b)) > uint64(m.ValueSize) {
				return false
			}
			clear(b)
			if int(off) < len(m.Data) {
				copy(b, m.Data[off:])
			}
			return true
		}
	}
	return d
}

// program is what bpf(2) would be given of p.
func (o *object) program(p *image.Program, kernel *btf.Spec) *verifier.Program {
	vp := &verifier.Program{
		Name: p.Name, Type: p.Type, Attach: p.Attach, Flags: p.Flags | o.flags[p.Name], Insns: p.Insns,
		GPL: gpl(o.img.License), BTF: o.img.BTF, KernelBTF: kernel, AttachTo: p.AttachTo,
		MapByFD: func(int32) *catalog.MapDef { return nil },
		MapByIdx: func(i int32) *catalog.MapDef {
			if i < 0 || int(i) >= len(o.defs) {
				return nil
			}
			return o.defs[i]
		},
	}
	for _, f := range p.Funcs {
		vp.Funcs = append(vp.Funcs, verifier.FuncInfo{Slot: f.Slot, Func: f.Func})
	}
	for _, l := range p.Lines {
		vp.Lines = append(vp.Lines, verifier.LineInfo{Slot: l.Slot, File: l.File, Line: l.Line, LineNo: l.LineNo, Column: l.Column})
	}
	return vp
}

// gpl follows license_is_gpl_compatible (include/linux/license.h).
func gpl(license string) bool {
	switch license {
	case "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL":
		return true
	}
	return false
}
