package testrun

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
)

// FlowKeys is struct bpf_flow_keys, what a flow_dissector program makes of a packet. Offsets are in bytes
// from the Ethernet header; NProto, ports, addresses and FlowLabel are in network order. As the context of a test run only
// Flags (BPF_FLOW_DISSECTOR_F_*) may be set.
type FlowKeys struct {
	NHOff, THOff                 uint16 // of the network and the transport header
	AddrProto                    uint16 // ETH_P_IP: Addrs begins with two IPv4 addresses, ETH_P_IPV6: two of IPv6
	IsFrag, IsFirstFrag, IsEncap uint8
	IPProto                      uint8
	NProto                       uint16
	Sport, Dport                 uint16
	Addrs                        [8]uint32
	Flags, FlowLabel             uint32
}

// MaxFlow is the longest packet, in bytes, that a run of a flow_dissector takes: a page.
const MaxFlow = 4096

// runFlowDissector follows bpf_prog_test_run_flow_dissector: the keys are what comes out.
func runFlowDissector(c *run.CPU, p *run.Program, in *Input) (out Output, err error) {
	if in.Flags != 0 || in.CPU != 0 {
		return out, fmt.Errorf("a flow_dissector program takes no flags and no CPU: %w", errno.EINVAL)
	}
	if len(in.Data) > MaxFlow {
		return out, fmt.Errorf("packet of %d bytes, at most %d are taken: %w", len(in.Data), MaxFlow, errno.EINVAL)
	}
	ctx, err := fitContext(in.Ctx, catalog.FlowKeysSize)
	if err != nil {
		return out, err
	}
	var given FlowKeys
	binary.Decode(ctx, binary.NativeEndian, &given)
	if given != (FlowKeys{Flags: given.Flags}) {
		return out, fmt.Errorf("context: bpf_flow_keys has a field set besides flags: %w", errno.EINVAL)
	}
	pkt := c.Packet()
	if err := pkt.SetSKB(in.Data, packet.SKBOptions{L2: true, Live: true}); err != nil {
		return out, err
	}
	keys, err := mem.Alloc(catalog.FlowKeysSize)
	if err != nil {
		return out, err
	}
	defer keys.Free()
	pkt.FlowKeys = keys.Addr()
	defer func() { pkt.FlowKeys = 0 }()
	start := FlowKeys{NHOff: ethLen, THOff: ethLen, NProto: binary.NativeEndian.Uint16(in.Data[ethLen-2:]), Flags: given.Flags}
	out, err = repeatWith(c, p, in, pkt.Addr(), pkt, func() { copy(keys.Bytes(), contextBytes(start)) })
	if err != nil {
		return out, err
	}
	var got FlowKeys
	binary.Decode(keys.Bytes(), binary.NativeEndian, &got)
	got.NHOff = min(max(got.NHOff, ethLen), uint16(len(in.Data)))
	got.THOff = min(max(got.THOff, got.NHOff), uint16(len(in.Data)))
	copy(in.DataOut, contextBytes(got))
	out.DataLen = catalog.FlowKeysSize
	if in.CtxOut {
		out.Ctx = ctx
	}
	return out, nil
}

const ethLen = 14
