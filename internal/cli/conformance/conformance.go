// Package conformance is skep conformance-plugin: bare instructions in, R0 out,
// by the protocol of the public conformance suite for BPF.
package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/conformance"
	"github.com/skep-bpf/skep/isa"
)

// Options are what the command line says.
type Options struct {
	Memory  string
	Program string
	Engine  string
	ELF     bool
	Debug   bool
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "conformance-plugin [MEMORY]",
		Short: "Run bare instructions, as the public conformance suite asks for",
		Long: `Runs a program given as bytes in hex on standard input and prints what it leaves
in r0, in hex. MEMORY, bytes in hex too, is what r1 points to; r2 holds its
length. This is the protocol of bpf_conformance_runner, which wants one file to
start, such as

  #!/bin/sh
  exec skep conformance-plugin --engine jit "$@"

Bare programs run in the checked interpreter, where no access goes astray: there
no verifier is asked. The other engines run what their verifier accepts: jit,
jit-blind (with constants blinded) and linux, the kernel.`,
		Example: `  echo 'b7 00 00 00 2a 00 00 00 95 00 00 00 00 00 00 00' | skep conformance-plugin
  echo '71 10 01 00 00 00 00 00 95 00 00 00 00 00 00 00' | skep conformance-plugin --engine jit 'aa bb cc'`,
		Args: ui.Args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Memory = args[0]
			}
			return run(s, &o)
		},
	}
	f := cmd.Flags()
	ui.OneOf(f, &o.Engine, "engine", "interp", "what to run on", "interp", "jit", "jit-blind", "linux")
	f.StringVar(&o.Program, "program", "", "the program's `bytes`, instead of standard input")
	f.BoolVar(&o.ELF, "elf", false, "the bytes are an object file, whose first program is meant")
	f.BoolVar(&o.Debug, "debug", false, "say the whole of why a verifier refuses the program")
	return cmd
}

func run(s *ui.Streams, o *Options) error {
	e := conformance.ByName(o.Engine)
	if err := e.Available(); err != nil {
		return fmt.Errorf("--engine %s: %w", o.Engine, err)
	}
	text := o.Program
	if text == "" {
		line, err := io.ReadAll(io.LimitReader(s.In, 64<<20))
		if err != nil {
			return err
		}
		text = string(line)
	}
	code, err := conformance.Bytes(text)
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	prog, err := program(code, o.ELF)
	if err != nil {
		return err
	}
	memory, err := conformance.Bytes(o.Memory)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	r0, err := e.Run(prog, memory)
	if err != nil {
		if o.Debug {
			fmt.Fprintln(s.Err, strings.TrimSpace(fmt.Sprintf("%+v", err)))
		}
		return err
	}
	_, err = fmt.Fprintf(s.Out, "%x\n", r0)
	return err
}

// program decodes what was given.
func program(code []byte, elf bool) ([]isa.Instruction, error) {
	if !elf {
		prog, err := isa.Decode(code, binary.LittleEndian)
		if err == nil && len(prog) == 0 {
			err = fmt.Errorf("no instructions")
		}
		if err != nil {
			return nil, fmt.Errorf("program: %w", err)
		}
		return prog, nil
	}
	img, err := image.Load(bytes.NewReader(code), "program", nil)
	if err != nil {
		return nil, err
	}
	if len(img.Programs) == 0 {
		return nil, fmt.Errorf("program: the object holds none")
	}
	return img.Programs[0].Insns, img.Programs[0].Err
}
