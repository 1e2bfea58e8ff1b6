package prog

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/isa"
)

// printer writes instructions in the kernel's manner.
func (d *dumper) printer() *isa.Printer {
	return &isa.Printer{Dialect: isa.Kernel, Names: isa.Names{
		Helper: helperName,
		Imm64: func(ins isa.Instruction, imm uint64) string {
			if ins.Src == isa.PseudoFunc {
				return fmt.Sprintf("subprog[%+d]", ins.Imm)
			}
			switch id, value, off, ok := d.p.MapAt(imm); {
			case ok && value:
				return fmt.Sprintf("map[id:%d][0]+%d", id, off)
			case ok:
				return fmt.Sprintf("map[id:%d]", id)
			}
			return fmt.Sprintf("%#x", imm)
		},
	}}
}

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
		text := p.Text(insns, slot)
		if f := d.function(slot + 1 + int(ins.Imm)); f != nil {
			text += "#" + f.Symbol
		}
		return text
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
		f := d.function(slot)
		if d.asJSON() {
			j := jsonXlated{jsonSource: d.jsonSource(slot), Disasm: d.text(p, slot)}
			if f != nil {
				j.Proto = proto(f)
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
		if f != nil && proto(f) != "" {
			fmt.Fprintf(d.out, "%s:\n", proto(f))
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
