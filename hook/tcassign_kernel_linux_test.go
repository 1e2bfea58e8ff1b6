package hook_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/internal/testprog"
)

// tcAssign gives a datagram to the socket of map 1 that its port's low byte names, with the flags of its high
// byte, whose top bit has it dropped afterwards. What sk_assign says is in map 0. What the kernel sends of its own accord is not from 192.0.2.9.
const tcAssign = `
r6 = r1
r2 = 26
r3 = r10
r3 += -8
r4 = 4
call skb_load_bytes
r1 = *(u32 *)(r10 - 8)
if r1 == 0x90200c0 goto ours
r0 = 0
exit
ours:
r1 = r6
r2 = 36
r3 = r10
r3 += -8
r4 = 2
call skb_load_bytes
r8 = *(u8 *)(r10 - 8)
r1 = *(u8 *)(r10 - 7)
*(u32 *)(r10 - 4) = r1
r2 = r10
r2 += -4
r1 = map_idx[1] ll
call map_lookup_elem
if r0 == 0 goto out
r7 = r0
r1 = r6
r2 = r7
r3 = r8
r3 &= 127
call sk_assign
r9 = r0
r1 = r7
call sk_release
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto out
*(u32 *)(r0 + 0) = r9
out:
r0 = r8
r0 >>= 7
r0 *= 2
exit`

// datagram is a frame from 192.0.2.9 to 192.0.2.1.
func datagram(mac []byte, port uint16, payload byte) []byte {
	f := make([]byte, 14+20+8+18)
	copy(f, mac)
	f[6], f[11] = 2, 9
	f[12] = 8
	ip, udp := f[14:], f[34:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, byte(len(ip)), 64, unix.IPPROTO_UDP
	copy(ip[12:], []byte{192, 0, 2, 9, 192, 0, 2, 1})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(udp, 9)
	binary.BigEndian.PutUint16(udp[2:], port)
	udp[5] = byte(len(udp))
	udp[8] = payload
	return f
}

// TestTCAssignAsTheKernel: datagrams reach the sockets in the kernel that the hook's deliveries name.
func TestTCAssignAsTheKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	netns.In(t, func() {
		tap, index := netns.TAP(t, "skep0", 0)
		netns.IP(t, "addr add 192.0.2.1/24 dev skep0")
		dev, err := net.InterfaceByIndex(index)
		if err != nil {
			t.Fatal(err)
		}
		maps := []*image.Map{
			{Name: "seen", Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1},
			{Name: "socks", Type: catalog.MapSockMap, KeySize: 4, ValueSize: 8, MaxEntries: 3},
		}
		p := testprog.Prog{Name: "p", Type: catalog.ProgSchedCls, Text: tcAssign}
		kprog, kmaps := kernelProg(t, testprog.Image(t, maps, p), "p")
		m, coll := setup(t, maps, p)
		var socks []*skep.Socket
		var fds []unix.PollFd
		for i := range 2 {
			fd, local := kernelSock(t, unix.SOCK_DGRAM, netip.MustParseAddrPort("192.0.2.1:0"))
			s, err := m.NewSocket(skep.SocketSpec{Protocol: skep.ProtoUDP, Local: local})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			key := binary.NativeEndian.AppendUint32(nil, uint32(i))
			if err := errors.Join(kmaps[1].Update(key, binary.NativeEndian.AppendUint64(nil, uint64(fd)), 0), coll.Maps["socks"].Put(uint32(i), s)); err != nil {
				t.Fatal(err)
			}
			socks, fds = append(socks, s), append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		zero := make([]byte, 4)
		for _, egress := range []bool{false, true} {
			at := catalog.AttachTCXIngress
			if egress {
				at = catalog.AttachTCXEgress
			}
			l, err := kprog.Link(at, linux.LinkOptions{Target: uint32(index)})
			oracle.Need(t, "tcx", err)
			h, err := hook.NewTC(m, coll.Programs["p"], &hook.TCOptions{Egress: egress})
			if err != nil {
				t.Fatal(err)
			}
			for i, port := range []uint16{0, 0x0100, 0x8000, 2, 1, 0x7f01, 0} {
				what := fmt.Sprintf("egress %v, port %#x", egress, port)
				frame := datagram(dev.HardwareAddr, port, byte(i))
				none := binary.NativeEndian.AppendUint32(nil, 77)
				if err := errors.Join(kmaps[0].Update(zero, none, 0), coll.Maps["seen"].Put(uint32(0), uint32(77))); err != nil {
					t.Fatal(err)
				}
				r, err := h.Run(frame, hook.Meta{Ifindex: 1})
				if err != nil {
					t.Fatal(err)
				}
				var got *skep.Socket
				if len(r.Deliveries) == 1 {
					got, _ = r.Deliveries[0].Socket.(*skep.Socket)
				}
				if want := !egress && (port == 0 || port == 1); (got != nil) != want || want && got != socks[port] {
					t.Errorf("%s: goes to %v", what, got)
				}
				if err := sendDatagram(tap, index, frame, egress); err != nil {
					t.Fatal(err)
				}
				if got != nil { // what went before has reached nobody, or it would be found here
					if n, err := unix.Poll(fds, 10_000); n != 1 {
						t.Fatalf("%s: %d of the kernel's sockets have something to read: %v", what, n, err)
					}
					for k := range fds {
						b := make([]byte, 64)
						if fds[k].Revents == 0 {
							continue
						}
						if n, err := unix.Read(int(fds[k].Fd), b); err != nil || n != 18 || b[0] != byte(i) || socks[k] != got {
							t.Errorf("%s: the kernel's socket %d gets %d bytes of frame %d, %v", what, k, n, b[0], err)
						}
					}
				}
				kernel, ours := make([]byte, 4), make([]byte, 4)
				if err := errors.Join(kmaps[0].Lookup(zero, kernel, 0), coll.Maps["seen"].Lookup(uint32(0), &ours)); err != nil {
					t.Fatal(err)
				}
				if string(kernel) != string(ours) {
					t.Errorf("%s: sk_assign says %d, the kernel's %d", what, int32(binary.NativeEndian.Uint32(ours)), int32(binary.NativeEndian.Uint32(kernel)))
				}
			}
			h.Close()
			l.Close()
		}
	})
}

// sendDatagram has a frame come in at a tap device, or go out there.
func sendDatagram(tap, index int, frame []byte, egress bool) error {
	if !egress {
		_, err := unix.Write(tap, frame)
		return err
	}
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	err = unix.Sendto(s, frame, 0, &unix.SockaddrLinklayer{Ifindex: index, Protocol: 8})
	if errors.Is(err, unix.ENOBUFS) { // how a drop is told
		return nil
	}
	return err
}
