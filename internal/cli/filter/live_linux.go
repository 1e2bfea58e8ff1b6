package filter

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// linkRaw is LINKTYPE_RAW: what the packets of a tunnel begin with.
const linkRaw = 101

// sniffer is a packet socket on one interface or on all of them.
type sniffer struct {
	moment
	fd     int
	ring   *ring
	any    bool
	inside bool // the kernel runs the filter
}

// interfaces names the interfaces there are.
func interfaces() string {
	var names []string
	all, _ := net.Interfaces()
	for _, i := range all {
		names = append(names, i.Name)
	}
	return ui.There(names)
}

// live reads packets from an interface until the context or the limit ends it.
func (j *job) live(ctx context.Context) error {
	sn := &sniffer{moment: moment{link: linkEthernet}, any: j.o.Interface == "any"}
	index := 0
	if sn.any {
		sn.link = linkSLL2
	} else {
		iface, err := net.InterfaceByName(j.o.Interface)
		if err != nil {
			return fmt.Errorf("there is no interface %s: %s, and any", j.o.Interface, interfaces())
		}
		index = iface.Index
		if len(iface.HardwareAddr) == 0 && iface.Flags&net.FlagLoopback == 0 {
			sn.link = linkRaw // a tunnel
		}
	}
	prog, err := j.liveProgram(sn.link)
	if err != nil {
		return err
	}
	vm, err := classic.NewVM(prog, classic.Libpcap)
	if err != nil {
		return err
	}
	if err := sn.open(index, prog); err != nil {
		return fmt.Errorf("%s: packet socket: %w", j.o.Interface, err)
	}
	defer sn.close()
	defer func() {
		if n, err := sn.ring.dropped(); err == nil {
			j.dropped = &n
		}
	}()
	if sn.inside {
		vm = nil
	}
	return j.watch(ctx, sn, sn.link, vm)
}

// open makes the socket. A filter that asks about what the kernel takes off a
// packet, or that the kernel does not take, runs here; one for all interfaces
// too, whose header does not exist in the kernel.
func (sn *sniffer) open(index int, prog []classic.Instruction) (err error) {
	typ := unix.SOCK_RAW
	if sn.any || sn.link == linkRaw {
		typ = unix.SOCK_DGRAM
	}
	// No protocol: nothing comes in before the filter is in place.
	sn.fd, err = unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			sn.close()
		}
	}()
	if !sn.any && classic.Check(prog, classic.Socket) == nil {
		fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))} // the same layout
		sn.inside = unix.SetsockoptSockFprog(sn.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog) == nil
	}
	if sn.ring, err = newRing(sn.fd); err != nil {
		return err
	}
	return unix.Bind(sn.fd, &unix.SockaddrLinklayer{Protocol: swap16(unix.ETH_P_ALL), Ifindex: index})
}

func (sn *sniffer) close() {
	if sn.ring != nil {
		_ = sn.ring.close() // nobody looks at it any more
	}
	unix.Close(sn.fd)
}

func swap16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// read reads a packet; ok is false where none came for a while. A VLAN tag that
// was taken off is put back, and the cooked header put before what has none: both
// into the room the ring keeps.
func (sn *sniffer) read(r *record) (ok bool, err error) {
	h, buf, err := sn.ring.next(idle)
	if err != nil {
		return false, fmt.Errorf("packet socket: %w", err)
	}
	if h == nil {
		return false, nil
	}
	sn.sec, sn.nsec = int64(h.Sec), int64(h.Nsec)
	data, wire := buf[ringRoom:], int(h.Len)
	switch {
	case sn.any:
		data = buf[ringRoom-sll2Header:]
		a := address(h)
		cook(data, &sender{swap16(a.Protocol), uint32(a.Ifindex), a.Hatype, a.Pkttype, a.Halen, a.Addr})
		wire += sll2Header
	case h.Status&unix.TP_STATUS_VLAN_VALID != 0 && sn.link == linkEthernet && len(data) >= addressesLen:
		tpid := uint16(unix.ETH_P_8021Q)
		if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = h.Hv1.Vlan_tpid
		}
		data = buf[ringRoom-vlanTag:]
		retag(data, tpid, uint16(h.Hv1.Vlan_tci))
		wire += vlanTag
	}
	*r = record{data: data, wire: max(wire, len(data)), link: sn.link}
	return true, nil
}
