package filter

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/lang/pcap"
)

// LINKTYPE_* of what packet sockets give.
const (
	linkRaw  = 101
	linkSLL2 = 276
)

// idle is how long a sniffer waits before it lets its job look around.
const idle = 100 * time.Millisecond

// sniffer is a packet socket on one interface or on all of them.
type sniffer struct {
	fd     int
	ring   *ring
	link   uint32
	any    bool
	inside bool // the kernel runs the filter
	vm     *classic.VM

	sec, nsec int64 // of the packet last read
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
	sn := &sniffer{link: linkEthernet, any: j.o.Interface == "any"}
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
	link := pcap.FromFile(sn.link)
	if j.o.linkGiven {
		link = j.o.link
	}
	prog, err := j.o.compile(j.s, link, &pcap.Options{Source: pcap.Live})
	if err != nil {
		return err
	}
	if sn.vm, err = classic.NewVM(prog, classic.Libpcap); err != nil {
		return err
	}
	if err := sn.open(index, prog); err != nil {
		return fmt.Errorf("%s: packet socket: %w", j.o.Interface, err)
	}
	defer sn.close()
	if j.out != nil {
		if err := j.out.begin(sn, sn.link); err != nil {
			return err
		}
	}
	defer func() {
		if n, err := sn.ring.dropped(); err == nil {
			j.dropped = &n
		}
	}()
	var r record
	for ctx.Err() == nil {
		ok, err := sn.read(&r)
		if err != nil {
			return fmt.Errorf("%s: %w", j.o.Interface, err)
		}
		if !ok {
			// Nothing for a while: what was printed is shown.
			if j.printer != nil {
				if err := j.printer.flush(); err != nil {
					return err
				}
			}
			continue
		}
		j.packets++
		j.aux.Length = r.wire
		if !sn.inside && sn.vm.Run(r.data, &j.aux) == 0 {
			continue
		}
		if err := j.match(sn, &r); err != nil {
			return err
		}
	}
	return nil
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

// Lengths of headers, in bytes.
const (
	sll2Header   = 20
	vlanTag      = 4
	addressesLen = 12 // of an Ethernet header
)

// read reads a packet; ok is false where none came for a while. A VLAN tag that
// was taken off is put back, and the cooked header put before what has none: both
// into the room the ring keeps.
func (sn *sniffer) read(r *record) (ok bool, err error) {
	h, buf, err := sn.ring.next(idle)
	if h == nil {
		return false, err
	}
	sn.sec, sn.nsec = int64(h.Sec), int64(h.Nsec)
	data, wire := buf[ringRoom:], int(h.Len)
	switch {
	case sn.any:
		data = buf[ringRoom-sll2Header:]
		cook(data, sender(h))
		wire += sll2Header
	case h.Status&unix.TP_STATUS_VLAN_VALID != 0 && sn.link == linkEthernet && len(data) >= addressesLen:
		tpid := uint16(unix.ETH_P_8021Q)
		if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = h.Hv1.Vlan_tpid
		}
		data = buf[ringRoom-vlanTag:]
		copy(data, data[vlanTag:][:addressesLen])
		binary.BigEndian.PutUint16(data[addressesLen:], tpid)
		binary.BigEndian.PutUint16(data[addressesLen+2:], uint16(h.Hv1.Vlan_tci))
		wire += vlanTag
	}
	*r = record{data: data, wire: max(wire, len(data)), link: sn.link}
	return true, nil
}

// cook puts the header of LINKTYPE_LINUX_SLL2 before a packet:
//
//	 0          2          4            8          10     11         12
//	┌──────────┬──────────┬────────────┬──────────┬──────┬──────────┬─────────────┐
//	│ protocol │ reserved │ interface  │ hardware │ type │ address  │ address, 8  │
//	│          │          │            │ type     │      │ length   │ bytes       │
//	└──────────┴──────────┴────────────┴──────────┴──────┴──────────┴─────────────┘
func cook(b []byte, a *unix.RawSockaddrLinklayer) {
	clear(b[:sll2Header])
	binary.BigEndian.PutUint16(b, swap16(a.Protocol))
	binary.BigEndian.PutUint32(b[4:], uint32(a.Ifindex))
	binary.BigEndian.PutUint16(b[8:], a.Hatype)
	b[10], b[11] = a.Pkttype, a.Halen
	copy(b[12:20], a.Addr[:])
}

// A sniffer is the source of its packets, whose records do not exist yet.

func (sn *sniffer) next(*record) error             { panic("BUG: a live source is read, not walked") }
func (sn *sniffer) time(*record) (sec, nsec int64) { return sn.sec, sn.nsec }
func (sn *sniffer) cut(r *record, _ int) []byte    { return r.data }
func (sn *sniffer) format() format                 { return formatLive }
func (sn *sniffer) header() []byte                 { return appendPcapHeader(nil, true, maxSnaplen, sn.link) }
