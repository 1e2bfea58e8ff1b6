package bpfsys

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/sockrun"
	"github.com/skep-bpf/skep/internal/testrun"
)

// runSkLookup follows bpf_prog_test_run_sk_lookup.
func (c *call) runSkLookup(a *testRun, p *run.Program) (e errno.Errno) {
	if a.Flags|a.Cpu|a.BatchSize|a.DataSizeIn|a.DataSizeOut != 0 || a.DataIn|a.DataOut != 0 || a.CtxIn|a.CtxOut == 0 {
		return errno.EINVAL
	}
	in := testrun.Input{Repeat: a.Repeat, CtxOut: true}
	if in.Ctx, e = c.readContext(a, sockrun.LookupSize); e != 0 {
		return e
	}
	out, err := testrun.Run(c.s.m, p, &in)
	if err != nil {
		return numberOf(err)
	}
	return c.finishRun(a, &in, &out)
}
