package hook

import (
	"fmt"
	"slices"
	"sync"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/packet"
)

// NetfilterFamily is the protocol of the packets at a hook of netfilter, with the number of NFPROTO_*.
type NetfilterFamily uint8

// Families.
const (
	NetfilterIPv4 NetfilterFamily = skep.NetfilterIPv4
	NetfilterIPv6 NetfilterFamily = skep.NetfilterIPv6
)

// NetfilterHook is a place on a packet's way through the network layer, with the number of NF_INET_*.
type NetfilterHook uint8

// Hooks.
const (
	NetfilterPreRouting  NetfilterHook = iota // it came in
	NetfilterLocalIn                          // it is for this host
	NetfilterForward                          // it is for another
	NetfilterLocalOut                         // it begins here
	NetfilterPostRouting                      // it is about to leave
)

var netfilterHooks = [...]string{"PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING"}

// String returns the kernel's name, without NF_INET_.
func (h NetfilterHook) String() string {
	if int(h) < len(netfilterHooks) {
		return netfilterHooks[h]
	}
	return unknown("hook", uint32(h))
}

// NetfilterPlace is where a program is attached: at a hook of a family, behind those of lower Priority.
type NetfilterPlace struct {
	Family   NetfilterFamily
	Hook     NetfilterHook
	Priority int32
}

// Netfilter is the way of packets through the hooks of a network namespace: programs of type netfilter decide which go on.
// It is safe for concurrent use and takes a virtual CPU for each packet.
//
//	Receive   PRE_ROUTING ─▶ LOCAL_IN
//	Forward   PRE_ROUTING ─▶ FORWARD ─▶ POST_ROUTING
//	Send      LOCAL_OUT ─▶ POST_ROUTING
type Netfilter struct {
	mach *skep.Machine

	mu    sync.Mutex
	links []*NetfilterLink // in the order they run; replaced, not changed
}

// NewNetfilter makes a namespace without programs.
func NewNetfilter(m *skep.Machine) *Netfilter { return &Netfilter{mach: m} }

// NetfilterLink is one program's place among those of a [Netfilter].
type NetfilterLink struct {
	h    *Netfilter
	at   NetfilterPlace
	prog *skep.Program
}

// Attach puts a program at a place, by the rules of bpf(2): one at each priority of a hook (EBUSY), and none at the least
// and the greatest priority (ERANGE).
func (h *Netfilter) Attach(p *skep.Program, at NetfilterPlace) (*NetfilterLink, error) {
	if got := p.Type(); got != skep.Netfilter {
		return nil, fmt.Errorf("hook netfilter: program %s is of type %s", p.Name(), got)
	}
	if err := skep.CheckNetfilter(uint32(at.Family), uint32(at.Hook), at.Priority); err != nil {
		return nil, fmt.Errorf("hook netfilter: program %s at %v of family %d, priority %d: %w", p.Name(), at.Hook, at.Family, at.Priority, err)
	}
	l := &NetfilterLink{h: h, at: at, prog: p}
	h.mu.Lock()
	defer h.mu.Unlock()
	i := 0
	for ; i < len(h.links) && h.links[i].at.Priority <= at.Priority; i++ {
		if h.links[i].at == at {
			return nil, fmt.Errorf("hook netfilter: program %s is at %v of family %d, priority %d, already: %w",
				h.links[i].prog.Name(), at.Hook, at.Family, at.Priority, skep.Errno(16))
		}
	}
	h.links = slices.Insert(slices.Clone(h.links), i, l)
	return l, nil
}

// Close takes the program away.
func (l *NetfilterLink) Close() error {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.h.links = slices.DeleteFunc(slices.Clone(l.h.links), func(x *NetfilterLink) bool { return x == l })
	return nil
}

// NetfilterVerdict is what became of a packet. Of one that was dropped Hook says where, and By which program did it.
type NetfilterVerdict struct {
	Accepted bool
	Hook     NetfilterHook
	By       *skep.Program
}

// Receive has a frame, which begins with its Ethernet header, come in by the device of meta and stay on this host.
func (h *Netfilter) Receive(frame []byte, meta Meta) (NetfilterVerdict, error) {
	return h.pass(frame, meta, 0, true, NetfilterPreRouting, NetfilterLocalIn)
}

// Forward has a frame come in by the device of meta and leave by another.
func (h *Netfilter) Forward(frame []byte, meta Meta, out uint32) (NetfilterVerdict, error) {
	return h.pass(frame, meta, out, true, NetfilterPreRouting, NetfilterForward, NetfilterPostRouting)
}

// Send has a packet, which begins with its IP header, leave this host by the device of meta.
func (h *Netfilter) Send(packet []byte, meta Meta) (NetfilterVerdict, error) {
	return h.pass(packet, meta, max(meta.Ifindex, 1), false, NetfilterLocalOut, NetfilterPostRouting)
}

// pass has a packet go by hooks. One that is neither IPv4 nor IPv6 meets no program.
func (h *Netfilter) pass(data []byte, meta Meta, out uint32, arrived bool, hooks ...NetfilterHook) (NetfilterVerdict, error) {
	accepted := NetfilterVerdict{Accepted: true}
	h.mu.Lock()
	links := h.links
	h.mu.Unlock()
	if len(links) == 0 {
		return accepted, nil
	}
	cpu := h.mach.AcquireCPU()
	defer cpu.Release()
	pkt := cpu.Packet()
	family, err := setNetfilter(pkt, data, meta, arrived)
	if err != nil || family == 0 {
		return accepted, err
	}
	in := uint32(0)
	if arrived {
		in = pkt.Ifindex
	}
	for _, at := range hooks {
		state := skep.HookState{Hook: uint8(at), PF: uint8(family), In: in}
		switch at {
		case NetfilterForward, NetfilterLocalOut:
			state.Out = out
		case NetfilterPostRouting:
			state.Out, pkt.Ifindex = out, out // the packet is its next device's from here on
		}
		for _, l := range links {
			if l.at.Hook != at || l.at.Family != family {
				continue
			}
			ret, err := cpu.RunNetfilter(l.prog, state)
			if err != nil {
				return NetfilterVerdict{}, err
			}
			if ret == 0 {
				return NetfilterVerdict{Hook: at, By: l.prog}, nil
			}
		}
	}
	return accepted, nil
}

// setNetfilter makes the packet that programs see: that of a frame from its network header on, or one that begins here, at no device yet.
func setNetfilter(pkt *skep.Packet, data []byte, meta Meta, arrived bool) (NetfilterFamily, error) {
	o := skep.SKBOptions{Dev: skep.Device{Ifindex: meta.Ifindex}, Live: true, IngressIfindex: max(meta.Ifindex, 1),
		Mark: meta.Mark, Priority: meta.Priority, Tstamp: meta.Tstamp, VLANProto: meta.VLANProto, VLANTCI: meta.VLANTCI}
	if arrived {
		if err := pkt.SetSKB(data, o); err != nil {
			return 0, err
		}
		pkt.MACLen = uint32(pkt.NetHeader - pkt.MACHeader)
		switch {
		case meta.Type != ByHeader:
			pkt.PktType = meta.Type.Number()
		case pkt.PktType == packet.PktOtherHost: // of a device without an address
			pkt.PktType = packet.PktHost
		}
		switch {
		case pkt.IsProtocol(packet.EtherIPv4):
			return NetfilterIPv4, setTransport(pkt, NetfilterIPv4)
		case pkt.IsProtocol(packet.EtherIPv6):
			return NetfilterIPv6, setTransport(pkt, NetfilterIPv6)
		}
		return 0, nil
	}
	family, proto := NetfilterFamily(0), uint16(0)
	if len(data) != 0 {
		switch data[0] >> 4 {
		case 4:
			family, proto = NetfilterIPv4, packet.EtherIPv4
		case 6:
			family, proto = NetfilterIPv6, packet.EtherIPv6
		}
	}
	if family == 0 {
		return 0, fmt.Errorf("hook netfilter: a packet that is sent begins with an IP header: %w", skep.Errno(22))
	}
	if err := pkt.SetLocal(data, proto, 0); err != nil {
		return 0, err
	}
	pkt.Mark, pkt.Priority = meta.Mark, meta.Priority
	return family, setTransport(pkt, family)
}

// setTransport notes where the transport header is, behind an IP header that is there as a whole.
func setTransport(pkt *skep.Packet, family NetfilterFamily) error {
	b := pkt.Bytes()
	n := 40
	if family == NetfilterIPv4 {
		n = 20
		if len(b) != 0 {
			n = max(n, int(b[0]&15)*4)
		}
	}
	if len(b) < n {
		return fmt.Errorf("hook netfilter: packet of %d bytes is shorter than its IP header: %w", len(b), skep.Errno(22))
	}
	pkt.TransHeader = pkt.NetHeader + uint64(n)
	return nil
}
