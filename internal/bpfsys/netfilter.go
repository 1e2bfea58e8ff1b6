package bpfsys

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/testrun"
)

// linkNetfilter follows bpf_nf_link_attach: one program at a hook and priority.
func (c *call) linkNetfilter(a *linkCreate, p *run.Program) (int32, errno.Errno) {
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	pf, hook, prio, flags := u32at(a.Extra[:], 0), u32at(a.Extra[:], 4), int32(u32at(a.Extra[:], 8)), u32at(a.Extra[:], 12)
	if e := catalog.CheckNetfilter(pf, hook, prio, flags); e != 0 {
		return 0, e
	}
	l := &Link{typ: LinkNetfilter, attach: catalog.AttachNetfilter, flags: flags,
		at: place{LinkNetfilter, uint64(pf)<<40 | uint64(hook)<<32 | uint64(uint32(prio)), catalog.AttachNetfilter}}
	return c.linkAt(l, p, 0, func(ch *chain) (int, errno.Errno) {
		if len(ch.entries) != 0 {
			return 0, errno.EBUSY
		}
		return 0, 0
	})
}

// netfilterInfo is the part of struct bpf_link_info of a link to netfilter.
func netfilterInfo(out *linkInfo, target uint64, flags uint32) {
	put := binary.NativeEndian.PutUint32
	put(out.U[0:], uint32(target>>40))
	put(out.U[4:], uint32(target>>32)&0xff)
	put(out.U[8:], uint32(target))
	put(out.U[12:], flags)
}

// runNetfilter follows bpf_prog_test_run_nf: no packet and no context come out.
func (c *call) runNetfilter(a *testRun, p *run.Program) (e errno.Errno) {
	if a.Flags|a.Cpu|a.BatchSize != 0 || a.DataSizeIn < ipHeader || a.DataSizeIn > maxSKB {
		return errno.EINVAL
	}
	in := testrun.Input{Repeat: a.Repeat, CtxOut: a.CtxOut != 0, Near: c.who.near()}
	if in.Data, e = c.read(a.DataIn, int(a.DataSizeIn)); e != 0 {
		return e
	}
	if in.Ctx, e = c.readContext(a, testrun.NFHookStateSize); e != 0 {
		return e
	}
	out, err := testrun.Run(c.s.m, p, &in)
	if err != nil {
		return numberOf(err)
	}
	e = c.finishData(a, &in, &out)
	c.s.testFinished(e)
	return e
}
