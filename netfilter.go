package skep

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/run"
)

// Protocol families of netfilter (NFPROTO_*).
const (
	NetfilterIPv4 = catalog.NFProtoIPv4
	NetfilterIPv6 = catalog.NFProtoIPv6
)

// CheckNetfilter says why a program cannot be attached to a hook (NF_INET_*) of a family at a priority: nil, or the [Errno] of
// bpf(2).
func CheckNetfilter(family, hook uint32, priority int32) error {
	if e := catalog.CheckNetfilter(family, hook, priority, 0); e != 0 {
		return e
	}
	return nil
}

// HookState is where in netfilter a packet is: Hook and PF have the numbers of NF_INET_* and NFPROTO_*, In and Out are
// the indexes of the devices it came in by and goes out by, 0 for none.
type HookState = run.HookState

// RunNetfilter is [CPU.Run] for a netfilter program, which returns 0 to drop the packet and 1 to accept it. At most one of the
// two devices of its place is another than the packet's own.
func (c *CPU) RunNetfilter(p *Program, at HookState) (uint32, error) {
	if p.done.Load() {
		return 0, p.wrap(ErrClosed)
	}
	if got := p.Type(); got != Netfilter {
		return 0, p.wrap(fmt.Errorf("it is of type %s, not netfilter", got))
	}
	pkt := c.c.Packet()
	ctx, err := c.c.Netfilter(p.p, pkt, at)
	if err != nil {
		return 0, p.wrap(err)
	}
	r0, err := c.c.Run(p.p, ctx, pkt)
	return uint32(r0), p.wrap(err)
}
