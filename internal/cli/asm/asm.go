// Package asm is skep asm: assembly text to instructions.
package asm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/isa"
)

// Options are what the command line says.
type Options struct {
	File      string
	Out       string
	Format    string
	BigEndian bool
	Unchecked bool
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "asm FILE",
		Short: "Assemble text into instructions",
		Long: `Assembles what skep disasm, llvm-objdump -d and the verifier's log print, also
mixed. FILE may be - for standard input.

Formats: raw is 8 bytes an instruction, as skep disasm and bpf(2) take them; hex
is a line of bytes for each, with its text; c is an array for a C program. The
default is raw with -o, else hex.`,
		Example: `  skep asm examples/asm/short.s
  skep asm --format c examples/asm/short.s`,
		Args: ui.Args(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.File = args[0]
			return run(s, &o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "write to `file`, which appears only when all is well")
	ui.OneOf(f, &o.Format, "format", "", "what to write", "raw", "hex", "c")
	f.BoolVar(&o.BigEndian, "big-endian", false, "assemble for a big-endian machine")
	f.BoolVar(&o.Unchecked, "unchecked", false, "let instructions pass that the kernel would call malformed")
	return cmd
}

func run(s *ui.Streams, o *Options) error {
	var order binary.ByteOrder = binary.LittleEndian
	if o.BigEndian {
		order = binary.BigEndian
	}
	if o.Format == "" {
		o.Format = "hex"
		if o.Out != "" {
			o.Format = "raw"
		}
	}
	text, err := s.ReadFile(o.File)
	if err != nil {
		return err
	}
	name := ui.InputName(o.File)
	if bytes.HasPrefix(text, []byte(elf.ELFMAG)) {
		return fmt.Errorf("%s: an object file, not assembly text: skep disasm shows what it holds", name)
	}
	prog, err := isa.Assemble(name, string(text), isa.Symbols{Helper: helperID})
	if err != nil {
		return err
	}
	if len(prog) == 0 {
		return fmt.Errorf("%s: no instruction in it", name)
	}
	if !o.Unchecked {
		if err := check(prog); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	data := formats[o.Format](prog, order)
	if o.Out == "" {
		_, err = s.Out.Write(data)
		return err
	}
	return ui.WriteFile(o.Out, data)
}

// check finds the first malformed instruction.
func check(prog []isa.Instruction) error {
	if slot, err := isa.CheckProgram(prog); err != nil {
		return fmt.Errorf("insn %d: %w", slot, err)
	}
	for slot := 0; slot < len(prog); slot++ {
		if err := isa.Check(prog[slot]); err != nil {
			return fmt.Errorf("insn %d: %w", slot, err)
		}
		if prog[slot].IsLoadImm64() {
			slot++
		}
	}
	return nil
}

func helperID(name string) (int32, bool) {
	h := catalog.HelperByName(name)
	if h == nil {
		return 0, false
	}
	return int32(h.ID), true
}

// formats are the values of --format.
var formats = map[string]func([]isa.Instruction, binary.ByteOrder) []byte{
	"raw": isa.Encode,
	"hex": hex,
	"c":   array,
}

// hex writes the bytes of each slot and behind them the instruction.
//
//	b7 00 00 00 02 00 00 00  r0 = 2
func hex(prog []isa.Instruction, order binary.ByteOrder) []byte {
	code := isa.Encode(prog, order)
	var b strings.Builder
	texts(prog, func(slot int, text string) {
		line := fmt.Sprintf("% x  %s", code[slot*isa.InsnSize:][:isa.InsnSize], text)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	})
	return []byte(b.String())
}

// array writes initialisers of struct bpf_insn.
func array(prog []isa.Instruction, _ binary.ByteOrder) []byte {
	var b strings.Builder
	texts(prog, func(slot int, text string) {
		ins := prog[slot]
		line := fmt.Sprintf("{ .code = 0x%02x, .dst_reg = %d, .src_reg = %d, .off = %d, .imm = %d },", uint8(ins.Op), ins.Dst, ins.Src, ins.Off, ins.Imm)
		if text != "" {
			line += " /* " + text + " */"
		}
		b.WriteString(line + "\n")
	})
	return []byte(b.String())
}

// texts calls f for each slot with the instruction that begins there, "" in
// the second half of one.
func texts(prog []isa.Instruction, f func(slot int, text string)) {
	p := isa.Printer{Names: isa.Names{Helper: func(id int32) string {
		if h := catalog.HelperByID(catalog.HelperID(id)); h != nil {
			return "bpf_" + h.Name
		}
		return ""
	}}}
	for slot := 0; slot < len(prog); slot++ {
		f(slot, p.Text(prog, slot))
		if prog[slot].IsLoadImm64() && slot+1 < len(prog) {
			slot++
			f(slot, "")
		}
	}
}
