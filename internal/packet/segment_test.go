package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/socket"
)

func newTestPacket(t testing.TB) *Packet {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Free)
	return p
}

// TestSegment: what SetSegment makes, SetFrame reads again.
func TestSegment(t *testing.T) {
	p, q := newTestPacket(t), newTestPacket(t)
	for _, addrs := range [][2]string{{"192.0.2.1:53", "198.51.100.2:999"}, {"[2001:db8::1]:53", "[2001:db8::2]:999"}} {
		for _, proto := range []uint8{socket.UDP, socket.TCP} {
			want := Segment{Proto: proto, Src: netip.MustParseAddrPort(addrs[0]), Dst: netip.MustParseAddrPort(addrs[1]), Ifindex: 3, Payload: []byte("payload")}
			if err := p.SetSegment(&want); err != nil {
				t.Fatal(err)
			}
			if p.Data != p.TransHeader || int(p.Len) != p.TransportLen(proto)+7 {
				t.Errorf("%d: %d bytes from %d behind the transport header", proto, p.Len, p.Data-p.TransHeader)
			}
			at := int(p.TransHeader - p.MACHeader)
			if !p.Pull(-at) {
				t.Fatal("no way back")
			}
			frame := append(bytes.Clone(p.Bytes()), 0, 0) // with a trailer
			got, ok := q.SetFrame(frame, 3)
			if !ok || got.Src != want.Src || got.Dst != want.Dst || got.Proto != proto || !bytes.Equal(got.Payload, want.Payload) {
				t.Errorf("%+v %v, want %+v", got, ok, want)
			}
			if q.Protocol != p.Protocol || !bytes.HasSuffix(q.Bytes(), want.Payload) || q.Ifindex != 3 {
				t.Errorf("%x", q.Bytes())
			}
		}
	}
	if err := p.SetSegment(&Segment{Proto: socket.UDP, Src: netip.MustParseAddrPort("192.0.2.1:53"), Dst: netip.MustParseAddrPort("192.0.2.1:53"), Payload: make([]byte, 1<<16)}); err == nil {
		t.Error("a segment of more than 64 KiB")
	}
}

// FuzzSetFrame reads frames of any kind.
func FuzzSetFrame(f *testing.F) {
	p := newTestPacket(f)
	for _, addr := range []string{"192.0.2.1:53", "[2001:db8::1]:53"} {
		for _, proto := range []uint8{socket.UDP, socket.TCP} {
			a := netip.MustParseAddrPort(addr)
			if err := p.SetSegment(&Segment{Proto: proto, Src: a, Dst: a, Payload: []byte("x")}); err != nil {
				f.Fatal(err)
			}
			p.Pull(-int(p.TransHeader - p.MACHeader))
			f.Add(bytes.Clone(p.Bytes()))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, ok := p.SetFrame(frame, 1)
		if !ok {
			return
		}
		if !bytes.HasSuffix(p.Bytes(), s.Payload) || p.TransportLen(s.Proto)+len(s.Payload) != int(p.Size()) || p.Data < p.HardStart {
			t.Errorf("%x is taken for %+v", frame, s)
		}
	})
}
