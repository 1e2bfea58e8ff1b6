package bpfnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
)

// kernel asks the kernel by rtnetlink(7).
type kernel struct{}

func newKernel() (source, error) { return kernel{}, nil }

var native = binary.NativeEndian

var sequence atomic.Uint32

// request sends one message and calls each for every message of the answer, with
// what follows its header.
func request(typ, flags uint16, body []byte, each func(body []byte)) error {
	sock, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	seq := sequence.Add(1)
	msg := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	native.PutUint32(msg, uint32(unix.NLMSG_HDRLEN+len(body)))
	native.PutUint16(msg[4:], typ)
	native.PutUint16(msg[6:], flags|unix.NLM_F_REQUEST)
	native.PutUint32(msg[8:], seq)
	if err := unix.Sendto(sock, append(msg, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(sock, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(native.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return errors.New("netlink: a message is cut off")
			}
			body := b[unix.NLMSG_HDRLEN:size]
			switch native.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if len(body) < 4 {
					return errors.New("netlink: an error is cut off")
				}
				if e := -int32(native.Uint32(body)); e != 0 {
					return errno.Errno(e)
				}
				return nil
			}
			each(body)
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// attributes takes a list of attributes apart, by their types; of several of one type the last counts.
func attributes(b []byte) map[uint16][]byte {
	all := map[uint16][]byte{}
	for len(b) >= unix.SizeofRtAttr {
		size := int(native.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		all[native.Uint16(b[2:])&^uint16(unix.NLA_F_NESTED)] = b[unix.SizeofRtAttr:size]
		b = b[min((size+3)&^3, len(b)):]
	}
	return all
}

// attribute makes one.
func attribute(typ uint16, data []byte) []byte {
	b := native.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(data)))
	b = append(native.AppendUint16(b, typ), data...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}

// Modes an XDP program can be attached in (XDP_ATTACHED_*).
const (
	attachedDriver = 1 + iota
	attachedGeneric
	attachedOffload
	attachedMulti
)

func (kernel) devices() (all []device, err error) {
	body := make([]byte, unix.SizeofIfInfomsg)
	body[0] = unix.AF_PACKET
	err = request(unix.RTM_GETLINK, unix.NLM_F_DUMP, body, func(b []byte) {
		if len(b) < unix.SizeofIfInfomsg {
			return
		}
		attrs := attributes(b[unix.SizeofIfInfomsg:])
		d := device{name: text(attrs[unix.IFLA_IFNAME]), index: int(native.Uint32(b[4:]))}
		x := attributes(attrs[unix.IFLA_XDP])
		mode := byte(0)
		if m := x[unix.IFLA_XDP_ATTACHED]; len(m) > 0 {
			mode = m[0]
		}
		add := func(name string, attr uint16) {
			if id, ok := x[attr]; ok {
				d.xdp = append(d.xdp, xdpOn{name, number(id)})
			}
		}
		switch mode {
		case attachedDriver:
			add("driver", unix.IFLA_XDP_PROG_ID)
		case attachedGeneric:
			add("generic", unix.IFLA_XDP_PROG_ID)
		case attachedOffload:
			add("offload", unix.IFLA_XDP_PROG_ID)
		case attachedMulti:
			d.multi = true
			add("generic", unix.IFLA_XDP_SKB_PROG_ID)
			add("driver", unix.IFLA_XDP_DRV_PROG_ID)
			add("offload", unix.IFLA_XDP_HW_PROG_ID)
		}
		all = append(all, d)
	})
	return all, err
}

// Places of filters, struct tcmsg's size, and the attributes of filters and actions (uapi pkt_cls.h).
const (
	rootHandle    = 0xffffffff
	clsactIngress = 0xfffffff2
	clsactEgress  = 0xfffffff3

	sizeofTcmsg = 20

	tcaKind, tcaOptions = 1, 2

	tcaBPFAct, tcaBPFName, tcaBPFID = 1, 7, 11
	tcaActKind, tcaActOptions       = 1, 2
	tcaActBPFName, tcaActBPFID      = 6, 9
	maxActions                      = 32
)

func tcmsg(index int, parent uint32) []byte {
	b := make([]byte, sizeofTcmsg)
	native.PutUint32(b[4:], uint32(index))
	native.PutUint32(b[12:], parent)
	return b
}

func (k kernel) filters(d device) ([]filter, error) {
	type place struct {
		kind   string
		handle uint32
	}
	var places []place
	for _, typ := range []uint16{unix.RTM_GETTCLASS, unix.RTM_GETQDISC} {
		err := request(typ, unix.NLM_F_DUMP, tcmsg(d.index, 0), func(b []byte) {
			if len(b) < sizeofTcmsg || int(native.Uint32(b[4:])) != d.index {
				return
			}
			kind := text(attributes(b[sizeofTcmsg:])[tcaKind])
			if handle := native.Uint32(b[8:]); typ == unix.RTM_GETTCLASS || kind != "clsact" && handle != 0 {
				places = append(places, place{kind, handle})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	places = append(places, place{"root", rootHandle}, place{"clsact/ingress", clsactIngress}, place{"clsact/egress", clsactEgress})
	var all []filter
	for _, p := range places {
		err := request(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, tcmsg(d.index, p.handle), func(b []byte) {
			if len(b) < sizeofTcmsg {
				return
			}
			attrs := attributes(b[sizeofTcmsg:])
			if options, ok := attrs[tcaOptions]; ok && text(attrs[tcaKind]) == "bpf" {
				all = append(all, bpfFilter(p.kind, attributes(options)))
			}
		})
		if err != nil && !errors.Is(err, errno.EINVAL) { // no such qdisc
			return nil, err
		}
	}
	return append(all, k.chains(d)...), nil
}

func bpfFilter(kind string, options map[uint16][]byte) filter {
	f := filter{kind: kind, name: text(options[tcaBPFName]), id: number(options[tcaBPFID])}
	acts, ok := options[tcaBPFAct]
	if !ok {
		return f
	}
	f.actions = []action{}
	byOrder := attributes(acts)
	for i := range uint16(maxActions + 1) {
		act := attributes(byOrder[i])
		if text(act[tcaActKind]) != "bpf" {
			continue
		}
		o := attributes(act[tcaActOptions])
		f.actions = append(f.actions, action{text(o[tcaActBPFName]), number(o[tcaActBPFID])})
	}
	return f
}

// chains are the programs of tcx and netkit, which bpf(2) knows.
func (kernel) chains(d device) (all []filter) {
	for _, at := range []struct {
		kind string
		typ  catalog.AttachType
	}{
		{"tcx/ingress", catalog.AttachTCXIngress}, {"tcx/egress", catalog.AttachTCXEgress},
		{"netkit/primary", catalog.AttachNetkitPrimary}, {"netkit/peer", catalog.AttachNetkitPeer},
	} {
		a, err := linux.Query(d.index, at.typ, 0, true)
		if err != nil {
			continue // an older kernel, or a device that has no such place
		}
		for i, id := range a.ProgIDs {
			f := filter{kind: at.kind, id: id, link: a.LinkIDs[i], mprog: true}
			if o, err := linux.OpenID(linux.KindProg, id); err == nil {
				if p, err := o.Prog(); err == nil {
					f.name = p.Name
				}
				o.Close()
			}
			all = append(all, f)
		}
	}
	return all
}

func (kernel) set(dev string, fd int32, flags uint32) error {
	d, err := net.InterfaceByName(dev)
	if err != nil {
		return fmt.Errorf("device %s: %w", dev, err)
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(body[4:], uint32(d.Index))
	inner := attribute(unix.IFLA_XDP_FD, native.AppendUint32(nil, uint32(fd)))
	inner = append(inner, attribute(unix.IFLA_XDP_FLAGS, native.AppendUint32(nil, flags))...)
	body = append(body, attribute(unix.IFLA_XDP|unix.NLA_F_NESTED, inner)...)
	return request(unix.RTM_SETLINK, unix.NLM_F_ACK, body, func([]byte) {})
}

func flagOf(mode string) uint32 {
	for _, m := range modes {
		if m.name == mode {
			return m.flag
		}
	}
	return 0
}

func (k kernel) attach(_ *objects.Verb, mode string, prog *linux.Object, dev string, overwrite bool) error {
	flags := flagOf(mode)
	if !overwrite {
		flags |= ifNoExist
	}
	return k.set(dev, int32(prog.FD()), flags)
}

func (k kernel) detach(mode, dev string) error { return k.set(dev, -1, flagOf(mode)) }

// dissector is the flow dissector of this network namespace.
func (kernel) dissector() (uint32, error) {
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return 0, err
	}
	defer ns.Close()
	a, err := linux.Query(int(ns.Fd()), catalog.AttachFlowDissector, 0, false)
	if errors.Is(err, errno.EINVAL) || err == nil && len(a.ProgIDs) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return a.ProgIDs[0], nil
}
