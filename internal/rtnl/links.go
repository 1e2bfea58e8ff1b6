package rtnl

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// maxName is how long a device's name may be, in bytes (IFNAMSIZ, its zero apart).
const maxName = 15

// maxQueues is how many queues a TAP device has at most (MAX_TAP_QUEUES).
const maxQueues = 256

// validName follows dev_valid_name.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxName && !strings.ContainsAny(name, "/: \t\n\v\f\r")
}

// free returns prefix and the first number that no device has. The caller holds s.mu.
func (s *Server) free(prefix string) string {
	for n := 0; ; n++ {
		if name := fmt.Sprintf("%s%d", prefix, n); s.named(name) == nil {
			return name
		}
	}
}

// address reads a link address, or draws one that is locally administered (eth_hw_addr_random).
func address(text string) (mac [6]byte, err error) {
	if text == "" {
		rand.Read(mac[:])
		mac[0] = mac[0]&^1 | 2
		return mac, nil
	}
	hw, err := net.ParseMAC(text)
	if err != nil || len(hw) != len(mac) {
		return mac, refuse(errno.EINVAL, fmt.Sprintf("%q is no link address of six bytes", text))
	}
	return [6]byte(hw), nil
}

// linkAdd makes a device or a pair.
func (s *Server) linkAdd(_ *request, a *LinkAdd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Name == "" {
		a.Name = s.free(a.Kind)
	}
	pair := a.Kind == KindVeth || a.Kind == KindNetkit
	if pair && a.Peer == "" {
		for n := 0; a.Peer == ""; n++ {
			if name := fmt.Sprintf("%s%d", a.Kind, n); s.named(name) == nil && name != a.Name {
				a.Peer = name
			}
		}
	}
	for _, name := range []string{a.Name, a.Peer} {
		if !validName(name) && (name != "" || pair || name == a.Name) {
			return refuse(errno.EINVAL, fmt.Sprintf("%q is not a valid device name", name))
		}
	}
	if s.named(a.Name) != nil || pair && (s.named(a.Peer) != nil || a.Peer == a.Name) ||
		a.Index != 0 && s.links[a.Index] != nil {
		return refuse(errno.EEXIST, "File exists")
	}
	if a.Queues < 0 || a.Queues > maxQueues || a.Index > 1<<31-1 {
		return refuse(errno.EINVAL, fmt.Sprintf("%d queues, index %d: there are up to %d queues, and indexes have 31 bits", a.Queues, a.Index, maxQueues))
	}
	attr := device.Attributes{Name: a.Name, Index: a.Index, MTU: a.MTU, Down: true}
	var err error
	if attr.MAC, err = address(a.Address); err != nil {
		return err
	}
	if pair {
		return s.addPair(a, attr)
	}
	if a.Kind == KindVXLAN || a.Kind == KindGeneve {
		return s.addTunnel(a, attr)
	}
	l := newLink(nil, *a)
	var port device.Port
	switch a.Kind {
	case KindPcap:
		l.capture, err = device.OpenCaptures(a.In, a.Out)
		port = l.capture
	case KindTAP:
		if l.add.Host == "" {
			l.add.Host = a.Name
		}
		port, err = device.OpenTAP(l.add.Host, a.Queues)
	case KindPacket:
		port, err = device.OpenInterface(a.Host, a.Write)
	default:
		return refuse(errno.EOPNOTSUPP, "Unknown device type.")
	}
	if err != nil {
		return err
	}
	if l.dev, err = s.net.AddDevice(attr, port); err != nil {
		port.Close()
		return err
	}
	s.links[l.dev.Index()] = l
	return nil
}

// addPair makes a veth or netkit pair. The peer comes first, as in a kernel, and
// has the lower index. The caller holds s.mu.
func (s *Server) addPair(a *LinkAdd, attr device.Attributes) error {
	peer := device.Attributes{Name: a.Peer, MTU: a.MTU, Down: true}
	var err error
	if peer.MAC, err = address(a.PeerAddress); err != nil {
		return err
	}
	var second, first *device.Device
	if a.Kind == KindNetkit {
		own, err := policy(a.Policy)
		if err != nil {
			return err
		}
		its, err := policy(a.PeerPolicy)
		if err != nil {
			return err
		}
		second, first, err = s.net.AddNetkit(peer, attr, its, own)
		if err != nil {
			return err
		}
	} else if second, first, err = s.net.AddDevices(peer, attr); err != nil {
		return err
	}
	l, other := newLink(first, *a), newLink(second, *a)
	l.primary = true
	other.add.Name, other.add.Peer = a.Peer, a.Name
	other.add.Policy, other.add.PeerPolicy = a.PeerPolicy, a.Policy
	s.links[first.Index()], s.links[second.Index()] = l, other
	return nil
}

// addTunnel makes a tunnel device. The caller holds s.mu.
func (s *Server) addTunnel(a *LinkAdd, attr device.Attributes) error {
	t := &a.Tunnel
	under := s.named(t.Under)
	if under == nil {
		return noDevice(t.Under)
	}
	c := device.TunnelConfig{Kind: device.VXLAN, Port: t.Port, GBP: t.GBP, Under: under.dev}
	if a.Kind == KindGeneve {
		c.Kind = device.Geneve
	}
	var err error
	if t.Local != "" {
		if c.Local, err = netip.ParseAddr(t.Local); err != nil || c.Local.Zone() != "" {
			return refuse(errno.EINVAL, fmt.Sprintf("local: %q is no address", t.Local))
		}
	}
	if t.NextHop != "" {
		if c.NextHop, err = address(t.NextHop); err != nil {
			return err
		}
	}
	d, err := s.net.AddTunnel(attr, c)
	if err != nil {
		return refuse(errno.EEXIST, err.Error())
	}
	s.links[d.Index()] = newLink(d, *a)
	return nil
}

// policy reads what a netkit device does without programs.
func policy(word string) (device.NetkitAction, error) {
	switch word {
	case "", "forward":
		return device.NetkitPass, nil
	case "blackhole":
		return device.NetkitDrop, nil
	}
	return 0, refuse(errno.EINVAL, fmt.Sprintf("policy %q: it is forward or blackhole", word))
}

// linkDel takes a device away, and its peer. A capture that was written appears under its name.
func (s *Server) linkDel(_ *request, a *Named) error {
	s.mu.Lock()
	l := s.named(a.Name)
	if l == nil || l.dev.Index() == loopIndex {
		s.mu.Unlock()
		if l != nil {
			return refuse(errno.EOPNOTSUPP, "Operation not supported")
		}
		return noDevice(a.Name)
	}
	gone := []*link{l}
	if p := l.dev.Peer(); p != nil {
		gone = append(gone, s.links[p.Index()])
	}
	for _, o := range s.links {
		if t, ok := o.dev.Tunnel(); ok && slices.ContainsFunc(gone, func(l *link) bool { return l.dev == t.Under }) {
			gone = append(gone, o) // it goes with what it lies over
		}
	}
	for _, l := range gone {
		delete(s.links, l.dev.Index())
	}
	s.mu.Unlock()
	for _, l := range gone {
		s.sys.DeviceGone(l.dev.Index())
	}
	err := commit(l)
	err = errors.Join(err, s.net.Remove(l.dev))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range gone {
		err = errors.Join(err, s.drop(l))
	}
	return err
}

// commit has a written capture appear. What is sent to the device from then on goes nowhere.
func commit(l *link) error {
	if l.capture == nil {
		return nil
	}
	return l.capture.Commit()
}

// drop gives back what a device that is gone held. The caller holds s.mu.
func (s *Server) drop(l *link) error {
	err := commit(l)
	s.release(l.xdp)
	for _, progs := range l.bpf {
		s.release(progs...)
	}
	for key := range l.held {
		s.dropFilter(l, key)
	}
	l.xdp, l.bpf = attached{}, nil
	return err
}

// noDevice is ip's and tc's answer to a name that no device has.
func noDevice(name string) error {
	return refuse(errno.ENODEV, fmt.Sprintf("Cannot find device %q", name))
}

// linkSet changes a device.
func (s *Server) linkSet(r *request, a *LinkSet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.named(a.Name)
	if l == nil {
		return noDevice(a.Name)
	}
	if a.MTU != 0 && (a.MTU < 68 || a.MTU > 65535) {
		return refuse(errno.EINVAL, "mtu is not between 68 and 65535")
	}
	attr := device.Attributes{Name: a.NewName, MTU: a.MTU}
	if a.NewName != "" {
		switch {
		case !validName(a.NewName):
			return refuse(errno.EINVAL, fmt.Sprintf("%q is not a valid device name", a.NewName))
		case s.named(a.NewName) != nil:
			return refuse(errno.EEXIST, "File exists")
		}
	}
	if a.Address != "" {
		var err error
		if attr.MAC, err = address(a.Address); err != nil {
			return err
		}
	}
	if a.XDP != nil {
		if err := s.setXDP(r, l, a.XDP); err != nil {
			return err
		}
	}
	if attr != (device.Attributes{}) {
		s.net.Change(l.dev, attr)
	}
	if a.Up != nil {
		l.dev.SetUp(*a.Up)
		l.wasUp = l.wasUp || *a.Up
	}
	return nil
}

// linkList tells of one device, or of all.
func (s *Server) linkList(r *request, a *Named) error {
	s.mu.Lock()
	var all []Link
	for _, l := range s.sorted() {
		if a.Name == "" || l.dev.Name() == a.Name {
			all = append(all, s.describe(l))
		}
	}
	s.mu.Unlock()
	if a.Name != "" && len(all) == 0 {
		return refuse(errno.ENODEV, fmt.Sprintf("Device %q does not exist.", a.Name))
	}
	for i := range all {
		s.complete(&all[i]) // asks bpf(2), which asks back
		if err := r.send(all[i]); err != nil {
			return err
		}
	}
	return nil
}

// describe is a device as listings show it. The caller holds s.mu.
func (s *Server) describe(l *link) Link {
	d, st := l.dev, l.dev.Stats()
	mac := d.MAC()
	out := Link{
		Index: d.Index(), Name: d.Name(), Kind: l.add.Kind, MTU: d.MTU(), Address: net.HardwareAddr(mac[:]).String(),
		Up: d.Up(), Running: d.Running(), Queues: d.Port().Queues(),
		In: l.add.In, Out: l.add.Out, Host: l.add.Host, Write: l.add.Write, Primary: l.primary, Ended: l.ended,
		XDPMode: l.mode, WasUp: l.wasUp,
		Stats: Stats{RxPackets: st.RxPackets, RxBytes: st.RxBytes, RxDropped: st.RxDropped,
			TxPackets: st.TxPackets, TxBytes: st.TxBytes, TxDropped: st.TxDropped,
			XDP: map[string]uint64{}, TC: map[string]uint64{}},
	}
	if p := d.Peer(); p != nil {
		out.Peer, out.PeerIndex, out.PeerUp = p.Name(), p.Index(), p.Up()
	}
	if t, ok := d.Tunnel(); ok {
		out.Tunnel = l.add.Tunnel
		out.Tunnel.Under, out.Tunnel.Port = t.Under.Name(), t.Port
	}
	if l.add.Kind == KindNetkit {
		if out.Policy = l.add.Policy; out.Policy == "" {
			out.Policy = "forward"
		}
	}
	for i, n := range st.XDP {
		if n > 0 {
			out.Stats.XDP[hook.XDPAction(i).String()] = n
		}
	}
	for i := range st.Ingress {
		if n := st.Ingress[i]; n > 0 {
			out.Stats.TC[Ingress+" "+hook.TCAction(i-1).String()] = n
		}
		if n := st.Egress[i]; n > 0 {
			out.Stats.TC[Egress+" "+hook.TCAction(i-1).String()] = n
		}
	}
	if l.xdp.prog != nil {
		p := about(l.xdp.prog, 0)
		out.XDP = &p
	}
	return out
}

// complete completes a description by what bpf(2) has attached.
func (s *Server) complete(l *Link) {
	if progs := s.attached(l.Index, catalog.AttachXDP); len(progs) > 0 && l.XDP == nil {
		l.XDP = &progs[0]
	}
	l.TCX, l.Netkit = map[string][]Prog{}, map[string][]Prog{}
	for hook, at := range map[string]catalog.AttachType{Ingress: catalog.AttachTCXIngress, Egress: catalog.AttachTCXEgress} {
		if progs := s.attached(l.Index, at); len(progs) > 0 {
			l.TCX[hook] = progs
		}
	}
	for hook, at := range map[string]catalog.AttachType{"primary": catalog.AttachNetkitPrimary, "peer": catalog.AttachNetkitPeer} {
		if progs := s.attached(l.Index, at); len(progs) > 0 {
			l.Netkit[hook] = progs
		}
	}
}

func (s *Server) attached(ifindex uint32, at catalog.AttachType) []Prog {
	ids, links := s.sys.Attached(ifindex, at)
	var out []Prog
	for i, id := range ids {
		if p := s.sys.Machine().Program(id); p != nil {
			out = append(out, about(p, links[i]))
			p.Close()
		}
	}
	return out
}
