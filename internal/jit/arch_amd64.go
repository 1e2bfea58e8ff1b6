package jit

import (
	"github.com/skep-bpf/skep/internal/jit/amd64"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
)

// What a back end must offer; every architecture has a file like this one.

// compile makes code of a program.
func compile(p *rewrite.Program, o code.Options) (*code.Object, error) { return amd64.Compile(p, o) }

// caller finds what the function with frame f, which has left at a tail call
// with the registers regs, has of its caller's.
func caller(f *code.Frame, regs exec.Saved) code.Caller { return amd64.Caller(f, regs) }
