package device

import (
	"slices"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/packet"
)

// Watcher sees packets pass devices, where packet sockets of Linux do:
//
//	port ─▶ XDP ─▶ ◉ ─▶ tc ingress ─▶ ○ ─▶ Options.Stack
//	                tc egress ─▶ ◉ ─▶ port
//
// ◉ are those who watch all protocols, ○ those of one. What XDP sends, and AF_XDP sockets do, nobody sees.
type Watcher interface {
	// Watch is called with a packet on the CPU it passes on, whose own packet Watch may use. Several
	// queues may call it at once.
	Watch(cpu *skep.CPU, p *Passing)
	// Down is called when a watched device goes down, or away.
	Down(d *Device, gone bool)
}

// Passing is a packet that passes a device, valid during the call.
type Passing struct {
	Device *Device
	Frame  []byte    // from its link header, which is Ethernet's, without the tag in Meta
	Meta   hook.Meta // its Type says whether it comes in or goes out
	Sender any       // who sent it: what NewSender was given; or nil
	// Protocol is the frame's type in host order, and Network where its network header begins, in bytes.
	Protocol uint16
	Network  int
}

// watch is one who watches.
type watch struct {
	dev      *Device // nil: all
	protocol uint16  // hook.ProtocolAll or an Ethernet type
	who      Watcher
}

// watches are all who watch, in the order they came; packets meet one or the next state of it.
type watches struct {
	all []*watch // of all protocols
	one []*watch
}

// Watch has w see the packets of a device, or of all for nil, from now on: those of one protocol, an Ethernet type in host
// order, when they have passed the way in; or with hook.ProtocolAll all of them, those that
// are sent too. stop ends it; a packet under way may still come.
func (n *Network) Watch(d *Device, protocol uint16, w Watcher) (stop func()) {
	e := &watch{d, protocol, w}
	n.changeWatches(func(ws *watches) {
		if protocol == hook.ProtocolAll {
			ws.all = append(slices.Clip(ws.all), e)
		} else {
			ws.one = append(slices.Clip(ws.one), e)
		}
	})
	return func() {
		n.changeWatches(func(ws *watches) {
			is := func(o *watch) bool { return o == e }
			ws.all, ws.one = slices.DeleteFunc(slices.Clone(ws.all), is), slices.DeleteFunc(slices.Clone(ws.one), is)
		})
	}
}

func (n *Network) changeWatches(f func(*watches)) {
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	var now watches
	if ws := n.watches.Load(); ws != nil {
		now = *ws
	}
	f(&now)
	if len(now.all) == 0 && len(now.one) == 0 {
		n.watches.Store(nil)
		return
	}
	n.watches.Store(&now)
}

// tellDown tells those who watch a device that it is down, or gone.
func (d *Device) tellDown(gone bool) {
	ws := d.net.watches.Load()
	if ws == nil {
		return
	}
	for _, e := range slices.Concat(ws.all, ws.one) {
		if e.dev == d {
			e.who.Down(d, gone)
		}
	}
}

// watched reports whether somebody watches; who asks is spared copies where nobody does.
func (w *worker) watched() bool { return w.net.watches.Load() != nil }

// show shows a packet to those who watch. It does not lie where the CPU's own packet does.
func (w *worker) show(list []*watch, d *Device, f []byte, about *hook.Meta) {
	if len(list) == 0 {
		return
	}
	meta := *about
	meta.Ifindex = d.index
	w.passing = Passing{Device: d, Frame: f, Meta: meta, Sender: w.sender, Protocol: EtherType(f), Network: ethernetHeader}
	if w.sender != nil { // packet_parse_headers
		w.passing.Protocol = uint16(f[12])<<8 | uint16(f[13])
		w.passing.Network = behindTags(f)
	}
	for _, e := range list {
		if e.dev != nil && e.dev != d {
			continue
		}
		if e.protocol != hook.ProtocolAll && e.protocol != w.passing.Protocol {
			continue
		}
		e.who.Watch(w.cpu, &w.passing)
	}
	w.passing = Passing{}
}

// arrived shows a packet that passed the way in to those who watch its protocol, and takes it up. A tag
// that belongs to no device of its own is forgotten for them, as in the stack.
func (w *worker) arrived(ws *watches, d *Device, f []byte, meta *hook.Meta) {
	if len(ws.one) > 0 {
		g, m := f, *meta
		for m.VLANProto != 0 {
			id := m.VLANTCI & 0xfff
			m.VLANProto, m.VLANTCI = 0, 0
			if id != 0 {
				m.Type = hook.ToOtherHost
				break
			}
			// A priority alone: the next tag may have an id.
			b := w.copied(g)
			defer w.done(b)
			if g, m.VLANProto, m.VLANTCI = packet.Untagged(b); g == nil {
				count(&w.counted(d).rxDropped, 1)
				return
			}
		}
		w.show(ws.one, d, g, &m)
	}
	w.up(d, f, meta)
}

// showSent shows a packet that is sent to those who watch all protocols (dev_queue_xmit_nit).
func (w *worker) showSent(d *Device, f []byte, about *hook.Meta) {
	if ws := w.net.watches.Load(); ws != nil && len(f) >= ethernetHeader {
		meta := *about
		meta.Type = hook.Outgoing
		w.show(ws.all, d, f, &meta)
	}
}

// EtherType is a frame's type in host order, with the kernel's numbers for lengths.
func EtherType(f []byte) uint16 {
	const ieee8023, ieee8022 = 1, 4
	typ := uint16(f[12])<<8 | uint16(f[13])
	switch {
	case typ >= 0x600:
		return typ
	case len(f) >= 16 && f[14] == 0xff && f[15] == 0xff:
		return ieee8023
	}
	return ieee8022
}

// Tags of 802.1Q and 802.1ad: how many in a row are looked at (VLAN_MAX_DEPTH), and the length of one in bytes.
const (
	maxTags = 8
	tagSize = 4
)

// behindTags is where the network header of a frame begins; one that is cut short within its tags
// has it where the first one is.
func behindTags(f []byte) int {
	at := ethernetHeader
	for n := 0; ; n++ {
		typ := uint16(f[at-2])<<8 | uint16(f[at-1])
		if typ != packet.EtherVLAN && typ != packet.EtherQinQ {
			return at
		}
		if at += tagSize; n == maxTags || at > len(f) {
			return ethernetHeader
		}
	}
}
