package testrun

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
)

// NFHookState is struct nf_hook_state, the context of a test run of a netfilter program: at which hook of which protocol
// (NFPROTO_IPV4, NFPROTO_IPV6) the packet is. All else must be zero. Without one it is LOCAL_OUT of IPv4.
type NFHookState struct {
	Hook, PF               uint8
	_                      [6]byte
	In, Out, SK, Net, OKFn uint64
}

// NFHookStateSize is the size of NFHookState in bytes.
const NFHookStateSize = 48

// loopback is the index of the device of test runs.
const loopback = 1

// Lengths of headers without options, and of the longest packet a run takes, in bytes.
const (
	ipLen  = 20
	ip6Len = 40
	maxSKB = 4096 - 64 - 320 // a page without NET_SKB_PAD and struct skb_shared_info
)

// runNetfilter follows bpf_prog_test_run_nf: at LOCAL_OUT the packet begins with its network header, elsewhere with an
// Ethernet header. Nothing comes out of it.
func runNetfilter(c *run.CPU, p *run.Program, in *Input) (out Output, err error) {
	if in.Flags != 0 || in.CPU != 0 {
		return out, fmt.Errorf("a netfilter program takes no flags and no CPU: %w", errno.EINVAL)
	}
	if len(in.Data) < ipLen || len(in.Data) > maxSKB {
		return out, fmt.Errorf("packet of %d bytes, %d to %d are taken: %w", len(in.Data), ipLen, maxSKB, errno.EINVAL)
	}
	at := run.HookState{PF: catalog.NFProtoIPv4, Hook: catalog.NFLocalOut}
	if in.Ctx != nil || in.CtxOut {
		if at, err = hookState(in.Ctx); err != nil {
			return out, err
		}
	}
	pkt := c.Packet()
	if at.Hook == catalog.NFLocalOut {
		err = loadLocal(pkt, in, at.PF)
	} else {
		err = loadArrived(pkt, in, at.PF)
	}
	if err != nil {
		return out, err
	}
	ctx, err := c.Netfilter(p, pkt, at)
	if err != nil {
		return out, err
	}
	return repeat(c, p, in, ctx, pkt)
}

// hookState follows verify_and_copy_hook_state. The kernel looks at the hook before it has taken over the one given: the
// packet always goes out, and never came in.
func hookState(ctx []byte) (at run.HookState, err error) {
	b, err := fitContext(ctx, NFHookStateSize)
	if err != nil {
		return at, err
	}
	var s NFHookState
	binary.Decode(b, binary.NativeEndian, &s)
	switch {
	case s.In|s.Out|s.SK|s.Net|s.OKFn != 0:
		return at, fmt.Errorf("context: nf_hook_state has a field set besides hook and pf: %w", errno.EINVAL)
	case s.PF != catalog.NFProtoIPv4 && s.PF != catalog.NFProtoIPv6:
		return at, fmt.Errorf("context: pf %d is neither NFPROTO_IPV4 (%d) nor NFPROTO_IPV6 (%d): %w", s.PF, catalog.NFProtoIPv4, catalog.NFProtoIPv6, errno.EINVAL)
	}
	return run.HookState{Hook: s.Hook, PF: s.PF, Out: loopback}, nil
}

// loadLocal sets up a packet that begins here: no device has seen it, and nobody noted where its headers are.
func loadLocal(pkt *packet.Packet, in *Input, pf uint8) error {
	proto := uint16(packet.EtherIPv4)
	if pf == catalog.NFProtoIPv6 {
		proto = packet.EtherIPv6
	}
	if err := pkt.SetLocal(in.Data, proto, in.Linear); err != nil {
		return err
	}
	pkt.NetHeader = pkt.HardStart
	return nil
}

// loadArrived sets up a packet that came in by the loopback device.
func loadArrived(pkt *packet.Packet, in *Input, pf uint8) error {
	if len(in.Data) < ethLen+ipLen {
		return fmt.Errorf("packet of %d bytes is shorter than its headers: %w", len(in.Data), errno.EINVAL)
	}
	if err := pkt.SetSKB(in.Data, packet.SKBOptions{Linear: in.Linear, Live: true}); err != nil {
		return err
	}
	want := uint8(catalog.NFProtoIPv4)
	switch {
	case pkt.IsProtocol(packet.EtherIPv4):
	case pkt.IsProtocol(packet.EtherIPv6):
		want = catalog.NFProtoIPv6
		if len(in.Data) < ethLen+ip6Len {
			return fmt.Errorf("packet of %d bytes is shorter than its headers: %w", len(in.Data), errno.EINVAL)
		}
	default:
		return fmt.Errorf("packet is of EtherType %#04x, neither IPv4 nor IPv6: %w", packet.Htons(uint16(pkt.Protocol)), errno.EPROTO)
	}
	if pf != want {
		return fmt.Errorf("packet of EtherType %#04x at a hook of protocol family %d: %w", packet.Htons(uint16(pkt.Protocol)), pf, errno.EINVAL)
	}
	return nil
}
