package afpacket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/isa"
)

// kernelWorld is a network namespace of the live kernel's, whose thread is the caller's.
type kernelWorld struct {
	t        *testing.T
	index    map[string]int
	sentinel map[string]int // sockets that see marks
	sender   int
	marks    uint64
	attached map[string]link.Link
	open     []int
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

// inNamespace runs f on a thread with a network namespace of its own and a pair of devices.
func inNamespace(t *testing.T, f func(w *kernelWorld)) {
	t.Helper()
	netns.In(t, func() {
		var one unix.CPUSet // one backlog: packets come in the order they are sent
		if err := unix.SchedGetaffinity(0, &one); err == nil {
			for cpu := 0; ; cpu++ {
				if one.IsSet(cpu) {
					one.Zero()
					one.Set(cpu)
					break
				}
			}
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
			}
		}
		// No packets of its own.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		netns.IP(t, "link add name a address "+macA+" type veth peer name b address "+macB, "link set dev a up", "link set dev b up")
		w := &kernelWorld{t: t, index: map[string]int{}, sentinel: map[string]int{}, attached: map[string]link.Link{}}
		defer w.close()
		var err error
		if w.sender, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			oracle.Need(t, "a packet socket", err)
		}
		w.open = append(w.open, w.sender)
		for _, name := range []string{"a", "b"} {
			ifr, _ := unix.NewIfreq(name)
			if err := unix.IoctlIfreq(w.sender, unix.SIOCGIFINDEX, ifr); err != nil {
				t.Error(err)
				return
			}
			w.index[name] = int(ifr.Uint32())
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap16(marker), Ifindex: w.index[name]})
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.sentinel[name] = fd
			w.open = append(w.open, fd)
		}
		w.settle("a")
		w.settle("b")
		f(w)
	})
}

func (w *kernelWorld) close() {
	for _, l := range w.attached {
		l.Close()
	}
	for _, fd := range w.open {
		unix.Close(fd)
	}
}

// settle waits until what was sent out of a device is through: until a mark is that was sent after it. A
// device that just came up may lose some.
func (w *kernelWorld) settle(from string) {
	to := w.sentinel[map[string]string{"a": "b", "b": "a"}[from]]
	moment := unix.NsecToTimeval(100e6)
	if err := unix.SetsockoptTimeval(to, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &moment); err != nil {
		w.t.Error(err)
	}
	buf := make([]byte, 2048)
	for range 100 {
		w.marks++
		f := frameOf("02:00:00:00:00:99", "02:00:00:00:00:99", marker, binary.BigEndian.AppendUint64(nil, w.marks))
		if err := unix.Sendto(w.sender, f, 0, &unix.SockaddrLinklayer{Ifindex: w.index[from]}); err != nil && !errors.Is(err, unix.ENOBUFS) {
			w.t.Error(err)
			return
		}
		for {
			n, err := unix.Read(to, buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				w.t.Error(err)
				return
			}
			if bytes.Equal(buf[:n], f) {
				return
			}
		}
	}
	w.t.Errorf("a mark does not arrive")
}

func (w *kernelWorld) send(dev string, f []byte) error {
	return unix.Sendto(w.sender, f, 0, &unix.SockaddrLinklayer{Ifindex: w.index[dev]})
}

// instructions turns text into the kernel's instructions.
func instructions(t *testing.T, text string) asm.Instructions {
	code, err := isa.Assemble("program", text, isa.Symbols{})
	if err != nil {
		t.Fatal(err)
	}
	insns, err := asm.AppendInstructions(nil, bytes.NewReader(isa.Encode(code, binary.LittleEndian)), binary.LittleEndian, "linux") // as amd64 and arm64 are
	if err != nil {
		t.Fatal(err)
	}
	return insns
}

func (w *kernelWorld) attach(dev, at, text string) {
	insns := instructions(w.t, withIndexes(text, w.index))
	typ := ebpf.SchedCLS
	if at == "xdp" {
		typ = ebpf.XDP
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: typ, License: "GPL", Instructions: insns})
	oracle.Need(w.t, "bpf(2)", err)
	defer p.Close()
	var l link.Link
	switch at {
	case "xdp":
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: w.index[dev], Flags: link.XDPDriverMode})
	case "ingress":
		l, err = link.AttachTCX(link.TCXOptions{Program: p, Interface: w.index[dev], Attach: ebpf.AttachTCXIngress})
	case "egress":
		l, err = link.AttachTCX(link.TCXOptions{Program: p, Interface: w.index[dev], Attach: ebpf.AttachTCXEgress})
	}
	oracle.Need(w.t, "links on devices", err)
	w.attached[dev+at] = l
}

func (w *kernelWorld) detach(dev, at string) {
	w.attached[dev+at].Close()
	delete(w.attached, dev+at)
}

func (w *kernelWorld) up(dev string, up bool) {
	how := "down"
	if up {
		how = "up"
	}
	if out, err := exec.Command("ip", "link", "set", "dev", dev, how).CombinedOutput(); err != nil {
		w.t.Errorf("%v %s", err, out)
	}
	if up {
		w.settle("a")
	}
}

func (w *kernelWorld) name(index int) string {
	for name, i := range w.index {
		if i == index {
			return name
		}
	}
	return fmt.Sprint("device ", index)
}

// kernelSocket is a packet socket of the kernel's.
type kernelSocket struct {
	w   *kernelWorld
	fd  int
	dev string
}

func (w *kernelWorld) socket(dev string, typ afpacket.Type, protocol uint16, buffer int) (socket, error) {
	kind := unix.SOCK_RAW
	if typ == afpacket.Datagram {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w.open = append(w.open, fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return nil, err
	}
	if buffer > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer/2); err != nil {
			return nil, err
		}
	}
	s := &kernelSocket{w, fd, dev}
	return s, s.bind(dev, protocol)
}

func (s *kernelSocket) bind(dev string, protocol uint16) error {
	return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: swap16(protocol), Ifindex: s.w.index[dev]})
}

func (s *kernelSocket) ignoreOutgoing() error {
	return unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
}

func (s *kernelSocket) receive() (*seen, error) {
	buf, oob := make([]byte, 4096), make([]byte, 512)
	for {
		n, on, _, from, err := unix.Recvmsg(s.fd, buf, oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		a := from.(*unix.SockaddrLinklayer)
		got := &seen{
			Data: bytes.Clone(buf[:n]), Device: s.w.name(a.Ifindex), Protocol: swap16(a.Protocol),
			Type: uint32(a.Pkttype), Addr: [6]byte(a.Addr[:6]),
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:on])
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if m.Header.Type != unix.PACKET_AUXDATA {
				continue
			}
			d := m.Data // struct tpacket_auxdata
			status := binary.NativeEndian.Uint32(d)
			got.Length, got.Snaplen = int(binary.NativeEndian.Uint32(d[4:])), int(binary.NativeEndian.Uint32(d[8:]))
			got.Network = int(binary.NativeEndian.Uint16(d[14:]))
			if status&unix.TP_STATUS_VLAN_VALID != 0 {
				got.VLANTCI, got.VLANProto = binary.NativeEndian.Uint16(d[16:]), binary.NativeEndian.Uint16(d[18:])
			}
		}
		if got.Addr == [6]byte(mac("02:00:00:00:00:99")) || got.Protocol == marker {
			continue
		}
		return got, nil
	}
}

func (s *kernelSocket) filter(prog []classic.Instruction) error {
	f := unix.SockFprog{Len: uint16(len(prog))}
	if len(prog) > 0 {
		f.Filter = (*unix.SockFilter)(unsafe.Pointer(&prog[0])) // the same layout
	}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f)
}

func (s *kernelSocket) program(text string) error {
	p, err := s.load(text)
	if err != nil {
		return err
	}
	defer p.Close()
	return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD())
}

func (s *kernelSocket) load(text string) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: instructions(s.w.t, text)})
}

func (s *kernelSocket) detach() error {
	return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
}

func (s *kernelSocket) lock() { unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1) }

func (s *kernelSocket) fanout(id uint16, typ afpacket.FanoutType, flags afpacket.FanoutFlags) error {
	var k int
	for f, bit := range map[afpacket.FanoutFlags]int{
		afpacket.Rollover: unix.PACKET_FANOUT_FLAG_ROLLOVER, afpacket.UniqueID: unix.PACKET_FANOUT_FLAG_UNIQUEID,
		afpacket.IgnoreOutgoing: unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING,
	} {
		if flags&f != 0 {
			k |= bit
		}
	}
	return unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, int(id)|(int(typ)|k)<<16)
}

func (s *kernelSocket) fanoutFilter(prog []classic.Instruction) error {
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &f)
}

func (s *kernelSocket) fanoutProgram(text string) error {
	p, err := s.load(text)
	if err != nil {
		return err
	}
	defer p.Close()
	return unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, p.FD())
}

func (s *kernelSocket) stats() afpacket.Stats {
	st, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		s.w.t.Error(err)
		return afpacket.Stats{}
	}
	return afpacket.Stats{Packets: uint64(st.Packets), Drops: uint64(st.Drops)}
}

func (s *kernelSocket) send(f []byte) error {
	return unix.Sendto(s.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: s.w.index[s.dev]})
}

func (s *kernelSocket) sendTo(p []byte, dev string, protocol uint16, to [6]byte) error {
	a := &unix.SockaddrLinklayer{Ifindex: s.w.index[dev], Protocol: swap16(protocol), Halen: 6}
	copy(a.Addr[:], to[:])
	return unix.Sendto(s.fd, p, 0, a)
}

func (s *kernelSocket) close() {
	unix.Close(s.fd)
	for i, fd := range s.w.open {
		if fd == s.fd {
			s.w.open = append(s.w.open[:i], s.w.open[i+1:]...)
			return
		}
	}
}

func init() {
	kernelErrno = func(err error) (string, bool) {
		var e unix.Errno
		if errors.As(err, &e) {
			return unix.ErrnoName(e), true
		}
		return "", false
	}
}

// TestAsTheKernel plays the same scenes on packet sockets of skep and of the kernel.
func TestAsTheKernel(t *testing.T) {
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			var want []string
			inNamespace(t, func(w *kernelWorld) { want = play(t, w, sc.play) })
			if t.Failed() || want == nil {
				return
			}
			got := play(t, newSkepWorld(t), sc.play)
			for i := range max(len(want), len(got)) {
				k, s := "(nothing)", "(nothing)"
				if i < len(want) {
					k = want[i]
				}
				if i < len(got) {
					s = got[i]
				}
				if k != s {
					t.Errorf("line %d\n kernel %s\n skep   %s", i, k, s)
				}
			}
			if os.Getenv("SKEP_SHOW") != "" {
				t.Log("\n" + strings.Join(want, "\n"))
			}
		})
	}
}
