//go:build !amd64 && !arm64

package jit

import (
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
)

func compile(*rewrite.Program, code.Options) (*code.Object, error) { return nil, exec.Available() }

// caller cannot be reached, as no code can be made.
func caller(*code.Frame, exec.Saved) code.Caller {
	panic("BUG: a tail call in native code where there is none")
}
