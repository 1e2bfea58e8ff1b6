package device

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/packet"
)

// TunnelConfig says what a tunnel device is: one whose packets' keys come from programs and go to them (collect_md,
// "external").
type TunnelConfig struct {
	Kind TunnelKind
	Port uint16 // of UDP, where it listens and sends to; 0: the kind's
	GBP  bool   // VXLAN with group policies, which are the key's options
	// Under is the device that outer packets leave by and come in by.
	Under *Device
	// Local is the address that outer packets come from where the key has none, and the only one that
	// those coming in are for. The zero Addr: the key's, and any.
	Local netip.Addr
	// NextHop is the link address outer packets are sent to; zero: that of Under's other end, or
	// everybody's where it has none.
	NextHop [6]byte
}

// tunnel is what a tunnel device has beside others.
type tunnel struct {
	TunnelConfig
	packets atomic.Uint32 // sent: the next one's id
}

// unplugged is the port of a device that frames neither come from nor go to by themselves.
type unplugged struct {
	closed chan struct{}
	once   sync.Once
}

func (*unplugged) Queues() int { return 1 }
func (p *unplugged) Receive(int, [][]byte) (int, error) {
	<-p.closed
	return 0, io.EOF
}
func (p *unplugged) Transmit([][]byte) (int, error) { return 0, io.ErrClosedPipe }
func (p *unplugged) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// tunnelMTU is that of tunnel devices over one of 1500 bytes: less by the outer headers.
const tunnelMTU = defaultMTU - ip4Header - udpHeader - vxlanHeader - ethernetHeader

// AddTunnel makes a tunnel device. What is sent to it without a key, as programs set one by bpf_skb_set_tunnel_key, is dropped.
func (n *Network) AddTunnel(a Attributes, c TunnelConfig) (*Device, error) {
	if c.Under == nil || c.Under.net != n {
		return nil, fmt.Errorf("device %s: a tunnel lies over a device of the same network", a.Name)
	}
	if c.Under.tunnel != nil {
		return nil, fmt.Errorf("device %s: %s is a tunnel itself", a.Name, c.Under.Name())
	}
	if c.GBP && c.Kind != VXLAN {
		return nil, fmt.Errorf("device %s: group policies are VXLAN's", a.Name)
	}
	if c.Port == 0 {
		c.Port = [...]uint16{VXLAN: vxlanPort, Geneve: genevePort}[c.Kind]
	}
	if a.MTU == 0 {
		a.MTU = tunnelMTU
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range *n.devices.Load() {
		if t := d.tunnel; t != nil && t.Under == c.Under && t.Port == c.Port {
			return nil, fmt.Errorf("device %s: %s has port %d of %s: %w", a.Name, d.Name(), c.Port, c.Under.Name(), errInUse)
		}
	}
	d, err := n.make(a, &unplugged{closed: make(chan struct{})})
	if err != nil {
		return nil, err
	}
	d.tunnel = &tunnel{TunnelConfig: c}
	n.admit(d)
	return d, nil
}

var errInUse = errors.New("address already in use")

// Tunnel returns what a tunnel device is; ok is false for other devices.
func (d *Device) Tunnel() (c TunnelConfig, ok bool) {
	if d.tunnel == nil {
		return c, false
	}
	return d.tunnel.TunnelConfig, true
}

// nextHop is the link address outer packets go to.
func (t *tunnel) nextHop() [6]byte {
	switch {
	case t.NextHop != [6]byte{}:
		return t.NextHop
	case t.Under.peer != nil:
		return t.Under.peer.MAC()
	}
	return [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// xmitTunnel puts a frame into an outer one as its key says, and sends that.
func (w *worker) xmitTunnel(d *Device, f []byte, meta *hook.Meta, depth int) {
	t, key := d.tunnel, meta.Tunnel
	if !d.Up() || !t.Under.Running() {
		w.drop(d)
		return
	}
	if key == nil || !key.TX || depth >= xmitLimit || len(f) < ethernetHeader {
		count(&w.counted(d).txDropped, 1)
		return
	}
	src := addressOf(key.Src, key.IPv6)
	if src.IsUnspecified() && t.Local.IsValid() {
		src = t.Local
	}
	if src.Is4() == key.IPv6 { // the device's address is of the other family
		count(&w.counted(d).txDropped, 1)
		return
	}
	if tagged := w.tagged(f, meta); tagged != nil { // the outer packet has no place for it
		f = tagged
		defer w.done(tagged)
	}
	out := t.encapsulate(w.copied(nil), f, key, t.Under.MAC(), t.nextHop(), src, w.flow(f), uint16(t.packets.Add(1)))
	if len(out) > int(t.Under.MTU())+ethernetHeader { // nobody fragments
		w.done(out)
		count(&w.counted(d).txDropped, 1)
		return
	}
	count(&w.counted(d).txPackets, 1)
	count(&w.counted(d).txBytes, len(f))
	w.xmit(t.Under, out, &hook.Meta{Mark: meta.Mark, Priority: meta.Priority, Type: hook.ToHost}, depth+1)
	w.done(out)
}

// flow is the hash of a frame's flow, which the outer packet's source port tells.
func (w *worker) flow(f []byte) uint32 {
	pkt := w.cpu.Packet()
	if err := pkt.SetSKB(f, skep.SKBOptions{Live: true, L2: true}); err != nil {
		return 0
	}
	return pkt.GetHash()
}

// untunnel takes a packet that came for a tunnel over d out of its outer headers, and has the tunnel's
// device receive it. It reports whether the packet was one.
func (w *worker) untunnel(d *Device, f []byte, meta *hook.Meta) bool {
	o, ok := parseOuter(f)
	if !ok {
		return false
	}
	for _, td := range *w.net.devices.Load() {
		t := td.tunnel
		if t == nil || t.Under != d || t.Port != o.port || !td.Up() || t.Local.IsValid() && t.Local != o.dst {
			continue
		}
		key := &skep.Tunnel{Present: true, IPv6: o.src.Is6(), Src: words(o.src), Dst: words(o.dst),
			TOS: o.tos, TTL: o.ttl, Label: o.label, Flags: packet.TunnelKeyBit}
		if o.summed {
			key.Flags |= packet.TunnelCsum
		}
		if o.whole {
			key.Flags |= packet.TunnelDontFrag
		}
		inner, ok := t.parse(o.payload, key)
		if !ok || len(inner) < ethernetHeader || [6]byte(inner[6:12]) == td.MAC() {
			count(&w.counted(td).rxDropped, 1)
			return true
		}
		inner = w.copied(inner) // what is outside is not this packet's to change
		if uncarryECN(inner, o.tos) {
			if p := w.enqueue(td, inner, redirected); p != nil {
				p.meta = hook.Meta{Mark: meta.Mark, Tunnel: key}
			}
		} else {
			count(&w.counted(td).rxDropped, 1)
		}
		w.done(inner)
		return true
	}
	return false
}
