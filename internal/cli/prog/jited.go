package prog

import (
	"fmt"
	"strings"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/jit/disasm"
)

type jsonJited struct {
	Proto string           `json:"proto,omitempty"`
	Name  string           `json:"name"`
	Insns []jsonNativeInsn `json:"insns"`
}

type jsonNativeInsn struct {
	jsonSource
	PC        string    `json:"pc"`
	Operation string    `json:"operation"`
	Operands  []*string `json:"operands"`
	Opcodes   []string  `json:"opcodes,omitempty"`
}

// jited writes machine code, function by function, as offsets from its beginning.
func (d *dumper) jited() any {
	n := d.native
	list := []jsonJited{}
	for i := range d.code.Funcs {
		f := &d.code.Funcs[i]
		if d.asJSON() {
			list = append(list, jsonJited{d.protos[i], f.Symbol, d.jsonInsns(f, n.slots[i])})
			continue
		}
		if p := d.protos[i]; p != "" {
			fmt.Fprintf(d.out, "%s:\n", ui.Printable(p))
		}
		fmt.Fprintf(d.out, "%s:\n", ui.Printable(f.Symbol))
		n.each(f, func(off, size int, text string) {
			if slot, ok := n.slots[i][off]; ok {
				d.source(d.lines[slot])
			}
			fmt.Fprintf(d.out, "%4x:\t%s\n", off, text)
			if d.o.Opcodes {
				fmt.Fprintf(d.out, "\t% x \n", n.text[f.Off+off:][:size])
			}
		})
		fmt.Fprintln(d.out)
	}
	return list
}

func (d *dumper) jsonInsns(f *skep.Func, slots map[int]int) []jsonNativeInsn {
	insns := []jsonNativeInsn{}
	d.native.each(f, func(off, size int, text string) {
		var j jsonNativeInsn
		if slot, ok := slots[off]; ok {
			j.jsonSource = d.jsonSource(slot)
		}
		j.PC = fmt.Sprintf("0x%x", off)
		op, rest, _ := strings.Cut(text, " ")
		j.Operation, j.Operands = op, operands(rest)
		if d.o.Opcodes {
			j.Opcodes = hexes(d.native.text[f.Off+off:][:size])
		}
		insns = append(insns, j)
	})
	return insns
}

// operands splits what follows a mnemonic at the commas outside parentheses;
// none are a null, as in bpftool.
func operands(text string) []*string {
	text = strings.TrimSpace(text)
	if text == "" {
		return []*string{nil}
	}
	var out []*string
	depth, from := 0, 0
	add := func(to int) {
		s := strings.TrimSpace(text[from:to])
		out = append(out, &s)
	}
	for i, c := range text {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ',':
			if depth == 0 {
				add(i)
				from = i + 1
			}
		}
	}
	add(len(text))
	return out
}

// slotByOffset maps offsets in a function's code to the slots whose lines begin there.
func (d *dumper) slotByOffset(n *skep.Native, f *skep.Func) map[int]int {
	at := map[int]int{}
	for slot := f.Start; slot < f.End; slot++ {
		l, ok := d.lines[slot]
		if !ok || strings.TrimSpace(l.Line) == "" {
			continue
		}
		off := n.Offsets[slot] - f.Off
		if slot == f.Start {
			off = 0 // the prologue is of the first line
		}
		if _, taken := at[off]; !taken {
			at[off] = slot
		}
	}
	return at
}

// each calls do for every machine instruction of a function, with its offset in it.
func (n *nativeCode) each(f *skep.Func, do func(off, size int, text string)) {
	code := n.text[f.Off:][:f.Len]
	for off := 0; off < len(code); {
		text, size := disasm.Text(n.arch, code[off:], uint64(off))
		do(off, size, text)
		off += size
	}
}
