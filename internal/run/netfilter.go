package run

import (
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// HookState is where in netfilter a packet is (struct nf_hook_state).
type HookState struct {
	Hook, PF uint8  // NF_INET_*, NFPROTO_*
	In, Out  uint32 // indexes of devices; 0: none
}

// Netfilter makes the context of a netfilter program for a packet (struct bpf_nf_ctx), and returns its address. At most one
// device of the two is another than the packet's own.
func (c *CPU) Netfilter(p *Program, pkt *packet.Packet, at HookState) (uint64, error) {
	ctx, err := c.Context()
	if err != nil {
		return 0, err
	}
	v, err := c.kernelView(p.Rewritten.Source.KernelBTF)
	if err != nil {
		return 0, err
	}
	if v.state.Addr == 0 {
		if v.state, err = v.structure("nf_hook_state"); err != nil {
			return 0, err
		}
	}
	dev := func(ifindex uint32) uint64 {
		if ifindex == pkt.Ifindex {
			return v.device(&v.rx, ifindex, c.m.opts.Net)
		}
		return v.device(&v.tx, ifindex, c.m.opts.Net)
	}
	v.state.Set("hook", uint64(at.Hook))
	v.state.Set("pf", uint64(at.PF))
	v.state.Set("in", dev(at.In))
	v.state.Set("out", dev(at.Out))
	mem.Store64(ctx, v.state.Addr)
	mem.Store64(ctx+8, v.packet(pkt, c.m.opts.Net))
	return ctx, nil
}
