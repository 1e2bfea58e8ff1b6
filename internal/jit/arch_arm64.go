package jit

import (
	"github.com/skep-bpf/skep/internal/jit/arm64"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
)

func compile(p *rewrite.Program, o code.Options) (*code.Object, error) { return arm64.Compile(p, o) }

func caller(f *code.Frame, regs exec.Saved) code.Caller { return arm64.Caller(f, regs) }
