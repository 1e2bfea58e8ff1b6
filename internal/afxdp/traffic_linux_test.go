package afxdp_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/oracle"
)

// lane is one socket on queue 0 of device x of one engine, with a way to send
// frames into the device and to see what comes out of it.
type lane struct {
	sys   afxdp.Sys
	area  *afxdp.Area
	rings [4]*afxdp.Ring
	in    func(frame []byte)
	out   func() []byte // the next frame that came out, nil if none comes
	log   []string
	like  *lane // what is to come out of it, nil of the first
	t     *testing.T
}

// frameOf makes a frame of n bytes that bears a number.
func frameOf(n int, id byte) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = id + byte(i)
	}
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	return f
}

// say notes what get returns; of the second engine, when it says what the first
// has said, or does not in two seconds.
func (l *lane) say(get func() string) {
	if l.like != nil {
		want := at(l.like.log, len(l.log))
		for end := time.Now().Add(500 * time.Millisecond); get() != want && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
	}
	l.log = append(l.log, get())
}

type act func(*lane)

// fills puts addresses into the fill ring.
func fills(addrs ...uint64) act {
	return func(l *lane) {
		r := l.rings[afxdp.Fill]
		for _, a := range addrs {
			if r.Free(1) == 0 {
				l.log = append(l.log, "fill ring full")
				return
			}
			r.PutAddr(a)
		}
		r.Submit()
		l.log = append(l.log, "filled")
	}
}

// receives has frames of such sizes come in.
func receives(sizes ...int) act {
	return func(l *lane) {
		for i, n := range sizes {
			l.in(frameOf(n, byte(i)))
		}
	}
}

// reads takes what is in the rx ring.
func reads(skip int) act {
	return func(l *lane) {
		r := l.rings[afxdp.RX]
		l.say(func() string { return fmt.Sprint(r.Waiting(r.Size()), " received") })
		for r.Waiting(1) > 0 {
			d := r.Desc()
			at := d.Start()
			l.log = append(l.log, fmt.Sprintf("%+v % x", d, l.area.Bytes()[at:at+uint64(d.Len)]))
			r.Skip()
		}
		r.Release()
	}
}

// sends puts descriptors into the tx ring and calls Send so many times.
func sends(times int, descs ...afxdp.Desc) act {
	return func(l *lane) {
		r := l.rings[afxdp.TX]
		for _, d := range descs {
			if r.Free(1) == 0 {
				l.log = append(l.log, "tx ring full")
				break
			}
			if at := d.Start(); at < uint64(len(l.area.Bytes())) {
				copy(l.area.Bytes()[at:], frameOf(64, byte(d.Addr>>11)))
			}
			r.PutDesc(d)
		}
		r.Submit()
		for range times {
			s := side{}
			s.note("send", l.sys.Send())
			l.log = append(l.log, s.log...)
		}
	}
}

// comes looks at n frames that come out of the device, and at the completion ring.
func comes(n int) act {
	return func(l *lane) {
		for range n {
			l.log = append(l.log, fmt.Sprintf("out % x", l.out()))
		}
		r := l.rings[afxdp.Completion]
		l.say(func() string { return fmt.Sprint(r.Waiting(r.Size()), " completed") })
		for r.Waiting(1) > 0 {
			l.log = append(l.log, fmt.Sprintf("completed %#x", r.Addr()))
			r.Skip()
		}
		r.Release()
	}
}

// completes waits for completions and leaves them in the ring.
func completes() act {
	return func(l *lane) {
		r := l.rings[afxdp.Completion]
		l.say(func() string { return fmt.Sprint(r.Waiting(r.Size()), " completed") })
	}
}

// counts looks at the statistics, and at how far the fill and tx rings were read.
func counts() act {
	return func(l *lane) {
		l.say(func() string {
			st, err := l.sys.Statistics()
			return fmt.Sprintf("%+v %v, %d and %d free", st, err, l.rings[afxdp.Fill].Free(99), l.rings[afxdp.TX].Free(99))
		})
	}
}

type traffic struct {
	reg   afxdp.Reg
	flags uint16
	acts  []act
}

func d(addr uint64, n, options uint32) afxdp.Desc {
	return afxdp.Desc{Addr: addr, Len: n, Options: options}
}

const chunks = 64 // of a UMEM in these tests

// wide beside the flags of a bind asks for tx and completion rings of 64 descriptors.
const wide = 1 << 15

var traffics = map[string]traffic{
	"receive": {afxdp.Reg{ChunkSize: 2048}, 0, []act{
		fills(0, 2048, 4096), receives(60, 1000, 61), reads(0), counts(), fills(6144), receives(1500), reads(0), counts(),
	}},
	"headroom":            {afxdp.Reg{ChunkSize: 4096, Headroom: 100}, 0, []act{fills(0, 8192), receives(60, 70), reads(0), counts()}},
	"offsets are cut off": {afxdp.Reg{ChunkSize: 2048}, 0, []act{fills(17, 2048+2047, 5000), receives(60, 70, 80), reads(0), counts()}},
	"bad addresses": {afxdp.Reg{ChunkSize: 2048}, 0, []act{
		fills(1<<40, chunks*2048, 2048, 1<<63, 1<<64-1, 4096), receives(60, 61), reads(0), counts(),
	}},
	"nothing to fill": {afxdp.Reg{ChunkSize: 2048}, 0, []act{receives(60, 60), counts(), fills(0), receives(60, 60), reads(0), counts()}},
	"the rx ring is full": {afxdp.Reg{ChunkSize: 2048}, 0, []act{
		fills(0, 2048, 4096, 6144, 8192, 10240, 12288, 14336), receives(60, 61, 62, 63, 64, 65), counts(),
		fills(0, 2048, 4096, 6144), receives(66, 67, 68, 69, 70), counts(), reads(0), receives(71, 72), reads(0), counts(),
	}},
	"a small chunk":     {afxdp.Reg{ChunkSize: 2048, Headroom: 1344}, 0, []act{fills(0, 2048, 4096, 6144), receives(128, 129, 448, 449, 1000), reads(0), counts()}},
	"all a chunk holds": {afxdp.Reg{ChunkSize: 2048, Headroom: 400}, 0, []act{fills(0, 2048, 4096, 6144), receives(1072, 1073, 1391, 1392, 1393), reads(0), counts()}},
	"unaligned": {afxdp.Reg{ChunkSize: 3000, Flags: afxdp.Unaligned, Headroom: 10}, 0, []act{
		fills(0, 12345, 3000*chunks-3000, 3000*chunks-2999, 7<<48|5, 1<<47), receives(60, 1200, 61, 62), reads(0), counts(),
	}},
	"several descriptors": {afxdp.Reg{ChunkSize: 2048, Headroom: 1344}, afxdp.UseSG, []act{
		fills(0, 2048, 4096, 6144, 8192, 10240, 12288), receives(100, 1000, 360, 721), reads(0), counts(), fills(0), receives(1500), counts(), fills(2048, 4096, 6144, 1<<30), receives(1500, 100), reads(0), counts(),
	}},
	"send": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy, []act{
		sends(1, d(0, 60, 0), d(2048, 64, 0), d(4096+100, 70, 0)), comes(3), counts(), sends(1), counts(),
	}},
	"bad descriptors": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy, []act{
		sends(3, d(0, 0, 0), d(2048, 64, 0), d(chunks*2048, 64, 0)), comes(1), counts(),
		sends(3, d(4096+2000, 48, 0), d(4096+2000, 49, 0), d(6144, 60, 0)), comes(2), counts(),
		sends(3, d(1<<63, 60, 0), d(8192, 60, 4), d(10240, 60, 1<<31)), comes(0), counts(), sends(1, d(0, 60, 0)), comes(1), counts(),
	}},
	// Even addresses: the kernel gives odd ones back without their lowest bit.
	"unaligned descriptors": {afxdp.Reg{ChunkSize: 3000, Flags: afxdp.Unaligned}, afxdp.Copy, []act{
		sends(1, d(12346, 60, 0)), comes(1), sends(1, d(300<<48|6000, 70, 0)), comes(1), sends(1, d(3000*chunks-60, 60, 0)), comes(1),
		sends(2, d(3000*chunks-58, 60, 0), d(7000, 3001, 0)), comes(0), sends(1, d(7000, 1500, 0)), comes(1), sends(1, d(2<<48|3000*chunks-60, 60, 0)), comes(0), counts(),
	}},
	"the completion ring is full": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy, []act{
		sends(1, d(0, 60, 0), d(2048, 60, 0), d(4096, 60, 0)), completes(), sends(1, d(6144, 60, 0), d(8192, 60, 0)), completes(), counts(), comes(4), sends(1), comes(1), counts(),
	}},
	"packets of several descriptors": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy | afxdp.UseSG, []act{
		sends(1, d(0, 60, 1), d(2048, 64, 0)), comes(1), counts(),
		sends(2, d(4096, 60, 1), d(chunks*2048, 60, 0), d(6144, 60, 0)), comes(1), counts(),
		sends(1, d(8192, 60, 1)), counts(), sends(1, d(10240, 60, 0)), comes(1), counts(),
	}},
	"too many descriptors": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy | afxdp.UseSG | wide, []act{
		sends(3, slices.Concat(slices.Repeat([]afxdp.Desc{d(2048, 60, 1)}, 20), []afxdp.Desc{d(4096, 60, 0), d(6144, 60, 0)})...), comes(2), counts(),
		sends(3, slices.Concat(slices.Repeat([]afxdp.Desc{d(2048, 60, 1)}, 16), []afxdp.Desc{d(4096, 60, 0), d(6144, 60, 0)})...), comes(2), counts(),
		sends(3, slices.Concat(slices.Repeat([]afxdp.Desc{d(2048, 60, 1)}, 17), []afxdp.Desc{d(4096, 60, 0), d(6144, 60, 0)})...), comes(2), counts(),
	}},
	"a batch": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy | wide, []act{sends(2, slices.Repeat([]afxdp.Desc{d(2048, 60, 0)}, 40)...), comes(40), counts()}},
	"several descriptors, not asked for": {afxdp.Reg{ChunkSize: 2048}, afxdp.Copy, []act{
		sends(2, d(0, 60, 1), d(2048, 64, 0)), comes(1), counts(),
	}},
}

func (tr traffic) run(t *testing.T, l *lane, device any) {
	var err error
	if l.area, err = afxdp.NewArea(int(tr.reg.ChunkSize) * chunks); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	must(l.sys.Register(l.area, tr.reg))
	sizes := []uint32{4, 8, 8, 4}
	if tr.flags&wide != 0 {
		sizes = []uint32{4, 64, 8, 64}
	}
	for k, n := range sizes {
		must(l.sys.MakeRing(afxdp.RingKind(k), n))
		l.rings[k], err = l.sys.MapRing(afxdp.RingKind(k))
		must(err)
	}
	must(l.sys.Bind(afxdp.Addr{Device: device, Flags: tr.flags &^ wide}))
	if t.Failed() {
		return
	}
	for _, a := range tr.acts {
		a(l)
	}
	must(l.sys.Close())
	for _, r := range l.rings {
		r.Unmap()
	}
	l.area.Close()
}

// ourLane has frames come to a socket as a device's receive loop does it.
func ourLane(t *testing.T) (*lane, any) {
	w := newWire(1)
	s := afxdp.NewSocket(new(maps.Sockets))
	return &lane{sys: s, t: t,
		in: func(f []byte) {
			if s.Receive(w, 0, nil, f) == 0 {
				s.Flush()
			}
		},
		out: func() (f []byte) {
			if len(w.sent) > 0 {
				f, w.sent = w.sent[0], w.sent[1:]
			}
			return f
		},
	}, w
}

// kernelLane has frames come in at y, from where a program on x redirects them.
func kernelLane(t *testing.T, ours *lane) (*lane, any) {
	sys, err := afxdp.NewLinux()
	oracle.Need(t, "an AF_XDP socket", err)
	xsks, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	oracle.Need(t, "an xskmap", err)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Flags: unix.BPF_F_XDP_HAS_FRAGS, Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R1, xsks.FD()), asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R3, 2), asm.FnRedirectMap.Call(), asm.Return(),
	}})
	oracle.Need(t, "an XDP program", err)
	if err := xsks.Put(uint32(0), sys.FD()); err != nil {
		t.Error(err)
	}
	x, _ := net.InterfaceByName("x")
	y, _ := net.InterfaceByName("y")
	hook, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: x.Index, Flags: link.XDPDriverMode})
	oracle.Need(t, "XDP on veth", err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0xb588)
	oracle.Need(t, "a packet socket", err)
	unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0xb588, Ifindex: y.Index})
	timeout := unix.NsecToTimeval(2e9)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	t.Cleanup(func() { hook.Close(); prog.Close(); xsks.Close(); unix.Close(fd) })
	return &lane{sys: sys, t: t, like: ours,
		in: func(f []byte) {
			if _, err := unix.Write(fd, f); err != nil {
				t.Error(err)
			}
		},
		out: func() []byte {
			buf := make([]byte, 9000)
			n, _ := unix.Read(fd, buf)
			return buf[:max(n, 0)]
		},
	}, x.Index
}

// TestTrafficAgainstKernel sends and receives, well and badly, and compares every
// descriptor, byte and count.
func TestTrafficAgainstKernel(t *testing.T) {
	for name, tr := range traffics {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, 1, func() {
				ours, dev := ourLane(t)
				tr.run(t, ours, dev)
				kern, dev := kernelLane(t, ours)
				tr.run(t, kern, dev)
				if !slices.Equal(ours.log, kern.log) {
					for i := range max(len(ours.log), len(kern.log)) {
						a, b := at(ours.log, i), at(kern.log, i)
						if a != b {
							t.Errorf("%d: skep  %.300s\n      linux %.300s", i, a, b)
						}
					}
				}
			})
		})
	}
}

func at(log []string, i int) string {
	if i < len(log) {
		return log[i]
	}
	return "nothing"
}
