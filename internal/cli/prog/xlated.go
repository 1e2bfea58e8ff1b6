package prog

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/isa"
)

// printer writes instructions in the kernel's manner.
func (d *dumper) printer() *isa.Printer { return &isa.Printer{Dialect: isa.Kernel, Names: d.names} }

// text is an instruction as bpftool prints it. Loads that probe look like others, as there.
func (d *dumper) text(p *isa.Printer, slot int) string {
	insns := d.code.Insns
	ins := insns[slot]
	switch mode := ins.Op.Mode(); {
	case ins.Op.Class() == isa.ClassLDX && (mode == isa.ModeProbeMEM || mode == isa.ModeProbeMEMSX):
		plain := isa.ModeMEM
		if mode == isa.ModeProbeMEMSX {
			plain = isa.ModeMEMSX
		}
		ins.Op = ins.Op&^0xe0 | plain
		return p.Text([]isa.Instruction{ins}, 0)
	case ins.IsLocalCall():
		f, _ := d.function(slot + 1 + distance(ins))
		plain := ins
		plain.Imm, plain.Off = int32(distance(ins)), 0
		text := p.Text([]isa.Instruction{plain}, 0)
		switch {
		case d.o.Visual: // where it goes is drawn
		case d.called != nil:
			text += d.called(ins, f)
		case f != nil:
			text += "#" + f.Symbol
		}
		return text
	case ins.IsKfuncCall() && d.called != nil: // its address is told as a helper's
		ins.Src = 0
		return p.Text([]isa.Instruction{ins}, 0)
	}
	return p.Text(insns, slot)
}

// each calls f for every instruction.
func (d *dumper) each(from, to int, f func(slot, slots int)) {
	for slot := from; slot < to; {
		n := 1
		if d.code.Insns[slot].IsLoadImm64() {
			n = 2
		}
		f(slot, n)
		slot += n
	}
}

type jsonOpcodes struct {
	Code   string   `json:"code"`
	SrcReg string   `json:"src_reg"`
	DstReg string   `json:"dst_reg"`
	Off    []string `json:"off"`
	Imm    []string `json:"imm"`
}

type jsonXlated struct {
	Proto string `json:"proto,omitempty"`
	jsonSource
	Disasm  string       `json:"disasm"`
	Opcodes *jsonOpcodes `json:"opcodes,omitempty"`
}

// xlated writes BPF instructions.
func (d *dumper) xlated() any {
	p := d.printer()
	list := []jsonXlated{}
	d.each(0, len(d.code.Insns), func(slot, slots int) {
		code := isa.Encode(d.code.Insns[slot:slot+slots], binary.LittleEndian)
		f, number := d.function(slot)
		if d.asJSON() {
			j := jsonXlated{jsonSource: d.jsonSource(slot), Disasm: d.text(p, slot)}
			if f != nil {
				j.Proto = d.protos[number]
			}
			if d.o.Opcodes {
				ins := d.code.Insns[slot]
				j.Opcodes = &jsonOpcodes{
					hex1(byte(ins.Op)), fmt.Sprintf("0x%x", uint8(ins.Src)), fmt.Sprintf("0x%x", uint8(ins.Dst)), hexes(code[2:4]), hexes(code[4:]),
				}
			}
			list = append(list, j)
			return
		}
		if f != nil && d.protos[number] != "" {
			fmt.Fprintf(d.out, "%s:\n", ui.Printable(d.protos[number]))
		}
		if l, ok := d.lines[slot]; ok {
			d.source(l)
		}
		fmt.Fprintf(d.out, "%4d: %s\n", slot, d.text(p, slot))
		if d.o.Opcodes {
			fmt.Fprintf(d.out, "       % x\n", code)
		}
	})
	return list
}

func hex1(b byte) string { return fmt.Sprintf("0x%02x", b) }

func hexes(code []byte) []string {
	out := make([]string, len(code))
	for i, b := range code {
		out[i] = hex1(b)
	}
	return out
}
