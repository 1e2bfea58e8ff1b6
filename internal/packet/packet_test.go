package packet

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// frame is an IPv4 packet of n bytes that tell where they are.
func frame(n int) []byte {
	b := make([]byte, max(n, 34))
	for i := range b {
		b[i] = byte(i)
	}
	b[12], b[13], b[14] = 8, 0, 0x45
	return b[:n]
}

func newPacket(t testing.TB) *Packet {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Free)
	return p
}

func TestLayout(t *testing.T) {
	if FrameSize%8 != 0 {
		t.Errorf("a Frame takes %d bytes; the Sock behind it would not be aligned", FrameSize)
	}
	for name, at := range map[string][2]uintptr{
		"src_ip4":  {unsafe.Offsetof(socket.Sock{}.SrcIP4), 24},
		"src_port": {unsafe.Offsetof(socket.Sock{}.SrcPort), 44},
		"dst_port": {unsafe.Offsetof(socket.Sock{}.DstPort), 48},
		"dst_ip4":  {unsafe.Offsetof(socket.Sock{}.DstIP4), 52},
		"state":    {unsafe.Offsetof(socket.Sock{}.State), 72},
		"end":      {unsafe.Offsetof(socket.Sock{}.Cookie), 80},

		"bytes_received of struct bpf_tcp_sock": {unsafe.Offsetof(socket.TCPSock{}.BytesReceived), 80},
		"end of struct bpf_tcp_sock":            {uintptr(socket.TCPSockSize), 112},
	} {
		if at[0] != at[1] {
			t.Errorf("%s of struct bpf_sock is at %d, want %d", name, at[0], at[1])
		}
	}
}

func TestSetXDPRefuses(t *testing.T) {
	p := newPacket(t)
	for name, c := range map[string]struct {
		n int
		o XDPOptions
	}{
		"a runt":                   {13, XDPOptions{}},
		"a runt behind metadata":   {17, XDPOptions{Meta: 4}},
		"odd metadata":             {100, XDPOptions{Meta: 6}},
		"much metadata":            {400, XDPOptions{Meta: 220}},
		"negative metadata":        {100, XDPOptions{Meta: -4}},
		"metadata beyond linear":   {100, XDPOptions{Meta: 32, Linear: 16}},
		"linear beyond the packet": {100, XDPOptions{Linear: 101}},
		"negative linear":          {100, XDPOptions{Linear: -1}},
		"more than all pages":      {3520 + 17*4096 + 1, XDPOptions{}},
	} {
		err := p.SetXDP(make([]byte, c.n), c.o)
		if !errors.Is(err, errno.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.SetXDP(make([]byte, 3520+17*4096), XDPOptions{}); err != nil {
		t.Errorf("all pages: %v", err)
	}
	if err := p.SetXDP(make([]byte, 60000), XDPOptions{FrameSize: 65536}); err != nil || p.XDPFlags != 0 {
		t.Errorf("one large buffer: %v, flags %d", err, p.XDPFlags)
	}
}

func TestSetSKBRefuses(t *testing.T) {
	p := newPacket(t)
	for name, c := range map[string]struct {
		data []byte
		o    SKBOptions
	}{
		"a runt":                    {frame(13), SKBOptions{}},
		"no room for the IP header": {frame(33), SKBOptions{L2: true}},
		"linear part of a runt":     {frame(60), SKBOptions{Linear: 13}},
		"linear beyond the packet":  {frame(60), SKBOptions{Linear: 61}},
		"IP header in pages":        {frame(60), SKBOptions{Linear: 33}},
		"short wire length":         {frame(60), SKBOptions{L2: true, WireLen: 59}},
	} {
		if err := p.SetSKB(c.data, c.o); !errors.Is(err, errno.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A packet with paged bytes: seen in part, loaded whole, pulled when asked.
func TestPagedSKB(t *testing.T) {
	p := newPacket(t)
	if err := p.SetSKB(frame(200), SKBOptions{L2: true, Linear: 50}); err != nil {
		t.Fatal(err)
	}
	if p.Headlen() != 50 || p.Len != 200 {
		t.Errorf("%d of %d bytes readable", p.Headlen(), p.Len)
	}
	buf := make([]byte, 8)
	at := uint64(uintptr(unsafe.Pointer(&buf[0])))
	if !p.Load(100, 8, at) || buf[0] != 100 {
		t.Errorf("load from pages gave %v", buf)
	}
	if p.Load(193, 8, at) {
		t.Error("load over the end")
	}
	if e := p.EnsureWritable(120); e != 0 || p.Headlen() != 120 {
		t.Errorf("pull: %v, %d bytes", e, p.Headlen())
	}
	if e := p.EnsureWritable(201); e != errno.ENOMEM {
		t.Errorf("pull beyond the end: %v", e)
	}
	if e := p.ChangeTail(300); e != 0 || p.Headlen() != 300 {
		t.Errorf("a longer tail: %v, %d bytes", e, p.Headlen())
	}
	if err := p.SetSKB(frame(200), SKBOptions{L2: true, Linear: 50}); err != nil {
		t.Fatal(err)
	}
	if e := p.AdjustRoom(20, AdjRoomMAC, 0); e != 0 || p.Headlen() != 70 || p.Len != 220 {
		t.Errorf("room in front of pages: %v, %d of %d", e, p.Headlen(), p.Len)
	}
}

func TestSKBOptions(t *testing.T) {
	p := newPacket(t)
	mac := [6]byte{2, 0, 0, 0, 0, 1}
	data := frame(60)
	copy(data, mac[:])
	o := SKBOptions{L2: true, AtIngress: true, Dev: Device{Ifindex: 7, MAC: mac}, VLANProto: EtherVLAN, VLANTCI: 5, WireLen: OwnLen, Hash: 9, Realm: 3, TCClassID: 4, QueueMapping: 2}
	if err := p.SetSKB(data, o); err != nil {
		t.Fatal(err)
	}
	if p.PktType != PktHost || p.Ifindex != 7 || p.WireLen != 60 || p.Hash != 9 || p.Realm != 3 || p.TCClassID != 4 || p.QueueMapping != 2 || p.Sock != 0 {
		t.Errorf("packet %+v", *p.Frame)
	}
	if p.VLANPresent != 1 || p.VLANProto != uint32(Htons(EtherVLAN)) || p.VLANTCI != 5 {
		t.Errorf("tag %d %#x %d", p.VLANPresent, p.VLANProto, p.VLANTCI)
	}
	if p.TransHeader != p.NetHeader || p.MACLen != 14 {
		t.Error("headers of a packet on its way in are not noted")
	}
	copy(data, []byte{255, 255, 255, 255, 255, 255})
	if p.SetSKB(data, o); p.PktType != PktBroadcast {
		t.Errorf("broadcast has type %d", p.PktType)
	}
}

// At ingress the sum does not cover the link header, whatever is done to it.
func TestIngressSum(t *testing.T) {
	p := newPacket(t)
	if err := p.SetSKB(frame(80), SKBOptions{L2: true, AtIngress: true, ChecksumComplete: true}); err != nil {
		t.Fatal(err)
	}
	whole := func() uint16 { return CsumFold(CsumPartial32(p.MACHeader+14, p.End-p.MACHeader-14, 0)) }
	for i, f := range []func() errno.Errno{
		func() errno.Errno { return p.PushVLAN(Htons(EtherVLAN), 5) },
		func() errno.Errno { return p.PushVLAN(Htons(EtherQinQ), 6) },
		p.PopVLAN, p.PopVLAN,
	} {
		if e := f(); e != 0 || CsumFold(p.Csum) != whole() {
			t.Errorf("step %d: %v, sum %#x, want %#x", i, e, CsumFold(p.Csum), whole())
		}
	}
}

// Headers stay where they are in the packet when it moves to another buffer.
func TestGrowth(t *testing.T) {
	p := newPacket(t)
	data := frame(100)
	if err := p.SetSKB(data, SKBOptions{L2: true, AtIngress: true}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if e := p.ChangeHead(100); e != 0 {
			t.Fatal(e)
		}
	}
	if got := p.Bytes()[10000:]; !bytes.Equal(got, data) {
		t.Errorf("after 100 headers the packet ends in %x", got)
	}
	if p.NetHeader-p.Data != 10014 || p.TransHeader != p.NetHeader || p.MACHeader != p.Data {
		t.Errorf("headers at %d, %d, %d", p.MACHeader-p.Data, p.NetHeader-p.Data, p.TransHeader-p.Data)
	}
	if e := p.ChangeHead(100000); e != errno.EINVAL {
		t.Errorf("beyond the longest packet: %v", e)
	}
	p.GSOSize = 1000 // what is to be segmented may be longer
	if e := p.ChangeHead(100000); e != 0 || p.Len != 110100 {
		t.Errorf("a long header on a segmented packet: %v, %d bytes", e, p.Len)
	}
}

// A packet longer than any before gets a larger buffer, and shorter ones keep it.
func TestReuse(t *testing.T) {
	p := newPacket(t)
	addr := p.Addr()
	for _, n := range []int{60, 300_000, 60, 1500} {
		data := frame(n)
		if err := p.SetSKB(data, SKBOptions{L2: true}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Bytes(), data) || p.Addr() != addr || p.Mark != 0 {
			t.Errorf("%d bytes: packet or frame differs", n)
		}
		p.Mark, p.Tunnel.Present, p.Encapsulated = 5, true, true
	}
}

func TestFinish(t *testing.T) {
	p := newPacket(t)
	p.SetSKB(frame(60), SKBOptions{})
	if p.Len != 46 || p.Data != p.NetHeader {
		t.Fatalf("%d bytes in sight", p.Len)
	}
	p.Finish()
	if b := p.Bytes(); len(b) != 60 || !bytes.Equal(b[:14], make([]byte, 14)) || b[20] != 20 {
		t.Errorf("after the run: %x", b)
	}
	p.SetSKB(frame(60), SKBOptions{L2: true})
	p.Finish()
	if b := p.Bytes(); len(b) != 60 || b[12] != 8 {
		t.Errorf("after a run with the link header: %x", b)
	}
}

func TestHash(t *testing.T) {
	p := newPacket(t)
	hash := func(change func(b []byte)) uint32 {
		b := frame(60)
		b[20], b[21], b[23] = 0, 0, 6 // not a fragment, TCP
		change(b)
		if err := p.SetSKB(b, SKBOptions{L2: true}); err != nil {
			t.Fatal(err)
		}
		return p.GetHash()
	}
	base := hash(func([]byte) {})
	if base == 0 || hash(func([]byte) {}) != base {
		t.Error("a flow's hash is not the same every time")
	}
	if hash(func(b []byte) { b[50] = 1 }) != base {
		t.Error("payload changes the hash")
	}
	for name, at := range map[string]int{"source": 26, "destination": 30, "source port": 34, "destination port": 37} {
		if hash(func(b []byte) { b[at] ^= 1 }) == base {
			t.Errorf("%s does not change the hash", name)
		}
	}
	later := func(b []byte) { b[20], b[21] = 0, 9 }
	if hash(func(b []byte) { later(b); b[34] ^= 1 }) != hash(later) {
		t.Error("what is no port in a later fragment changes the hash")
	}
}

func TestGSONetworkLen(t *testing.T) {
	p := newPacket(t)
	b := frame(100)
	b[34+12] = 8 << 4
	p.SetSKB(b, SKBOptions{L2: true, GSOSize: 1000, GSOType: GSOTCPv4})
	p.TransHeader = p.NetHeader + 20
	if n := p.GSONetworkLen(); n != 20+32+1000 {
		t.Errorf("TCP segment of %d bytes", n)
	}
	p.GSOType = GSOUDPL4
	if n := p.GSONetworkLen(); n != 20+8+1000 {
		t.Errorf("UDP segment of %d bytes", n)
	}
}

func TestStaticNetSockets(t *testing.T) {
	n := NewStaticNet()
	defer n.Close()
	ap := netip.MustParseAddrPort
	wild, err := n.AddSocket(17, ap("0.0.0.0:53"), netip.AddrPort{}, socket.TCPClose)
	if err != nil {
		t.Fatal(err)
	}
	bound, _ := n.AddSocket(17, ap("10.0.0.1:53"), netip.AddrPort{}, socket.TCPClose)
	connected, _ := n.AddSocket(17, ap("10.0.0.1:53"), ap("10.0.0.9:99"), socket.TCPClose)
	addr := (*socket.Socket).Addr
	for dst, want := range map[string]uint64{"10.0.0.1:53": addr(bound), "10.0.0.2:53": addr(wild), "10.0.0.1:54": 0, "[::1]:53": 0} {
		if got := n.Socket(&SocketQuery{Proto: 17, Src: ap("10.0.0.7:7"), Dst: ap(dst), Netns: -1}); got != want {
			t.Errorf("socket for %s: %#x, want %#x", dst, got, want)
		}
	}
	if got := n.Socket(&SocketQuery{Proto: 17, Src: ap("10.0.0.9:99"), Dst: ap("10.0.0.1:53"), Netns: -1}); got != addr(connected) {
		t.Error("the connected socket does not come first")
	}
	if n.Socket(&SocketQuery{Proto: 6, Dst: ap("10.0.0.1:53"), Netns: -1}) != 0 || n.Socket(&SocketQuery{Proto: 17, Dst: ap("10.0.0.1:53"), Netns: 1}) != 0 {
		t.Error("a socket of another protocol or namespace was found")
	}
	if wild.Cookie == bound.Cookie || !wild.Full() || (&socket.Sock{State: socket.TCPTimeWait}).Full() {
		t.Error("cookies or states")
	}
}

func TestFreshNamespace(t *testing.T) {
	n := NewStaticNet()
	if d := n.Device(1); d == nil || d.Name != "lo" || d.MTU != 65536 || n.Device(2) != nil {
		t.Errorf("loopback device %+v", d)
	}
	_, known := n.Neighbour(1, netip.IPv4Unspecified())
	if n.Route(&RouteQuery{Dst: netip.MustParseAddr("10.0.0.1")}) != nil || known || n.Socket(&SocketQuery{Netns: -1}) != 0 {
		t.Error("something is in a fresh namespace besides the loopback device")
	}
	n.SetNetnsCookie(77)
	sent := 0
	n.OnTransmit = func(dev *Device, ingress bool, frame []byte) { sent += len(frame) }
	if n.NetnsCookie() != 77 || n.Transmit(n.Device(1), true, make([]byte, 60)) != XmitSuccess || sent != 60 {
		t.Errorf("cookie %d, %d bytes sent", n.NetnsCookie(), sent)
	}
}

// The sum does not depend on how bytes are grouped or aligned.
func TestCsum(t *testing.T) {
	b, err := mem.Alloc(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free()
	for i := range b.Bytes() {
		b.Bytes()[i] = byte(i*31 + 7)
	}
	for off := range uint64(9) {
		for n := range uint64(70) {
			var slow uint32
			for i := range n {
				w := uint32(b.Bytes()[off+i])
				if i%2 == 1 {
					w <<= 8
				}
				slow += w
			}
			if got := CsumFold(CsumPartial32(b.Addr()+off, n, 0)); got != CsumFold(slow) {
				t.Fatalf("sum of %d bytes at %d is %#x, want %#x", n, off, got, CsumFold(slow))
			}
		}
	}
}

// Whatever is done to a packet, its edges stay in order and inside its buffer.
func FuzzEdges(f *testing.F) {
	f.Add([]byte{0, 10, 1, 200, 2, 3, 3, 4}, uint16(60), false)
	f.Add([]byte{4, 0, 5, 20, 6, 1, 7, 3, 8, 30}, uint16(100), true)
	f.Add([]byte{9, 255, 10, 128, 11, 127, 9, 1}, uint16(9000), true)
	p := newPacket(f)
	f.Fuzz(func(t *testing.T, ops []byte, size uint16, xdp bool) {
		data := frame(int(size))
		var err error
		if xdp {
			err = p.SetXDP(data, XDPOptions{})
		} else {
			err = p.SetSKB(data, SKBOptions{L2: size%2 == 0, Linear: int(size) / 2, ChecksumComplete: size%3 == 0})
		}
		if err != nil {
			return
		}
		for ; len(ops) >= 2; ops = ops[2:] {
			op, arg := ops[0], int32(int8(ops[1]))
			if xdp {
				switch op % 3 {
				case 0:
					p.AdjustHead(arg * 3)
				case 1:
					p.AdjustTail(arg * 50)
				case 2:
					p.AdjustMeta(arg)
				}
				if p.DataMeta < p.HardStart || p.DataMeta > p.Data || p.Data > p.DataEnd || p.DataEnd > p.End || p.Size() < 14 {
					t.Fatalf("after op %d by %d: %+v", op, arg, *p.Frame)
				}
			} else {
				doSKB(p, op, arg)
				if p.HardStart > p.Data || p.Data > p.DataEnd || p.DataEnd > p.End || p.End > p.HardEnd || uint64(p.Len) != p.Size() {
					t.Fatalf("after op %d by %d: %+v", op, arg, *p.Frame)
				}
			}
			if p.End > p.buf.Addr()+uint64(p.buf.Size()) {
				t.Fatalf("after op %d by %d the packet ends outside its buffer", op, arg)
			}
		}
	})
}

// doSKB does one of the operations on socket buffers.
func doSKB(p *Packet, op byte, arg int32) {
	switch op % 12 {
	case 0:
		p.PushVLAN(Htons(EtherVLAN), uint16(arg))
	case 1:
		p.PopVLAN()
	case 2:
		p.ChangeHead(uint32(uint8(arg)))
	case 3:
		p.ChangeTail(uint32(uint8(arg)) * 8)
	case 4:
		p.ChangeProto(Htons(EtherIPv6))
	case 5:
		p.ChangeProto(Htons(EtherIPv4))
	case 6, 7:
		p.AdjustRoom(arg, uint32(op)&1, uint64(op>>4)<<1)
	case 8:
		p.EnsureWritable(uint64(uint8(arg)))
	case 9:
		p.SetCE()
	case 10:
		p.GetHash()
	case 11:
		p.LoadAbs(arg<<13, 4)
	}
}
