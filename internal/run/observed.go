package run

import (
	"context"
	"runtime/pprof"
	"unsafe"

	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/jit/debug"
	"github.com/skep-bpf/skep/internal/rewrite"
)

// tellTools tells perf and debuggers of a program's native code, as far as the
// options want it, and returns what tells them that it goes.
func tellTools(o *Options, p *rewrite.Program, c *jit.Program) (forget func(), err error) {
	forget = func() {}
	if !o.PerfMap && !o.GDB {
		return forget, nil
	}
	var fns []debug.Function
	for i := range c.Object.Entries {
		off, size := c.Function(i)
		fns = append(fns, debug.Function{Name: p.Symbol(i), Addr: c.Addr() + uint64(off), Size: size})
	}
	if o.PerfMap {
		if err := debug.AddToMap(fns); err != nil {
			return nil, err
		}
	}
	if o.GDB {
		return debug.Register(fns)
	}
	return forget, nil
}

// LabelKey is the key of the labels that samples of a CPU profile have while a
// program runs; their value is the program's symbol.
const LabelKey = "bpf_prog"

// labelled is a context with the labels of a program.
func labelled(p *rewrite.Program) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels(LabelKey, p.Symbol(0)))
}

// profLabel and setProfLabel read and set the labels of the goroutine. The
// runtime keeps them as what runtime/pprof makes of a context; here they are only put back.
//
//go:linkname profLabel runtime/pprof.runtime_getProfLabel
func profLabel() unsafe.Pointer

//go:linkname setProfLabel runtime/pprof.runtime_setProfLabel
func setProfLabel(labels unsafe.Pointer)

// label has samples from here on carry p's labels.
func (c *CPU) label(p *Program) { pprof.SetGoroutineLabels(p.labels) }
