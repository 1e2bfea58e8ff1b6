package device

import (
	"fmt"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

// NetkitAction is what a netkit program returns, and a device's policy where it
// has no program (enum netkit_action).
type NetkitAction int32

// Netkit actions.
const (
	NetkitNext     NetkitAction = -1 // the next program decides; after the last one: pass
	NetkitPass     NetkitAction = 0
	NetkitDrop     NetkitAction = 2
	NetkitRedirect NetkitAction = 7
)

// netkit is an end of a pair whose programs run on what is sent, before the
// peer receives it (drivers/net/netkit.c).
type netkit struct {
	policy NetkitAction
	progs  *hook.Clsact // its tcx links are the programs
}

// AddNetkit makes a netkit pair, whose ends are up. policy and peerPolicy are what becomes of what
// the first and the second send while no program is there: NetkitPass or NetkitDrop.
func (n *Network) AddNetkit(a, b Attributes, policy, peerPolicy NetkitAction) (*Device, *Device, error) {
	for _, p := range []NetkitAction{policy, peerPolicy} {
		if p != NetkitPass && p != NetkitDrop {
			return nil, nil, fmt.Errorf("device %s: netkit policy %d is neither pass nor drop", a.Name, p)
		}
	}
	return n.addPair(a, b, func(a, b *Device) {
		a.netkit, b.netkit = n.newNetkit(policy), n.newNetkit(peerPolicy)
	})
}

func (n *Network) newNetkit(policy NetkitAction) *netkit {
	h, _ := hook.NewClsact(n.mach, &hook.TCOptions{Held: &skep.CPU{}, Egress: true})
	return &netkit{policy, h}
}

// SetNetkit puts programs in the place of those that run on what a netkit device
// sends, in their order.
func (d *Device) SetNetkit(progs []*skep.Program) error {
	if d.netkit == nil {
		return fmt.Errorf("device %s: it is no netkit device", d.Name())
	}
	return d.netkit.progs.SetTCX(progs)
}

// xmitNetkit sends a frame through a netkit device's programs to the peer (netkit_xmit).
func (w *worker) xmitNetkit(d *Device, f []byte, meta *hook.Meta, depth int) {
	k := d.netkit
	if k.progs.Empty() {
		if k.policy == NetkitDrop {
			count(&w.counted(d).txDropped, 1)
			return
		}
		w.put(d, f, meta)
		return
	}
	meta.Ifindex = d.peer.index // it is the peer's already
	r, err := w.view(k.progs).RunNetkit(f, *meta)
	if w.failed(err) {
		return
	}
	switch NetkitAction(r.Action) {
	case NetkitNext, NetkitPass:
		w.put(d, r.Packet, r.After())
	case NetkitRedirect:
		if len(r.Deliveries) == 1 && w.redirect(&r.Deliveries[0], r.After(), depth+1) {
			return
		}
		fallthrough
	default:
		count(&w.counted(d).txDropped, 1)
	}
}
