package device

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/packet"
)

// TestGeneveHeader: byte by byte as RFC 8926 draws it, and read back. (Linux's own is compared where a kernel has
// it; VXLAN's is in package afpacket.)
func TestGeneveHeader(t *testing.T) {
	c := TunnelConfig{Kind: Geneve, Port: genevePort}
	key := skep.Tunnel{Present: true, TX: true, ID: 0x123456, OptLen: 8, Flags: packet.TunnelOptions | packet.TunnelCsum,
		Src: words(netip.MustParseAddr("10.0.0.1")), Dst: words(netip.MustParseAddr("10.0.0.2"))}
	copy(key.Opt[:], []byte{1, 2, 0x80, 1, 9, 8, 7, 6})
	inner := bytes.Repeat([]byte{0xee}, 60)
	f := c.encapsulate(nil, inner, &key, [6]byte{2}, [6]byte{4}, addressOf(key.Src, false), 1<<31, 7)
	head := "02" + "00" + "6558" + "12345600" + "0102800109080706"
	if got := hex.EncodeToString(f[14+20+8:][:16]); got != head {
		t.Errorf("header %s, want %s", got, head)
	}
	o, ok := parseOuter(f)
	if !ok || o.src.String() != "10.0.0.1" || o.dst.String() != "10.0.0.2" || o.port != genevePort || !o.summed || o.ttl != 0 {
		t.Fatalf("read back: %v %+v", ok, o)
	}
	var back skep.Tunnel
	got, ok := c.parse(o.payload, &back)
	if !ok || !bytes.Equal(got, inner) || back.ID != key.ID || back.OptLen != 8 || !bytes.Equal(back.Opt[:8], key.Opt[:8]) {
		t.Errorf("read back: %v %x %+v", ok, got, back.ID)
	}
	f[len(f)-1] ^= 1
	if _, ok := parseOuter(f); ok {
		t.Error("a wrong checksum passes")
	}
}

// TestCongestion is RFC 6040's table of what comes out of a tunnel, and that the inner checksum stays right.
func TestCongestion(t *testing.T) {
	for inner := range uint8(4) {
		for outer := range uint8(4) {
			ip := []byte{0x45, 0xb8 | inner, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
			check := ^sum(0, ip)
			ip[10], ip[11] = byte(check>>8), byte(check)
			f := append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, ip...)
			want := inner
			switch {
			case outer == ecnCE:
				want = ecnCE
			case outer == ecnECT1 && inner == ecnECT0:
				want = ecnECT1
			}
			ok := uncarryECN(f, outer)
			if drop := outer == ecnCE && inner == 0; ok == drop {
				t.Errorf("inner %d, outer %d: dropped %v", inner, outer, !ok)
			} else if !drop && (f[15] != 0xb8|want || sum(0, f[14:]) != 0xffff) {
				t.Errorf("inner %d, outer %d: % x", inner, outer, f[14:])
			}
		}
	}
}

func FuzzOuter(f *testing.F) {
	c := TunnelConfig{Kind: VXLAN, Port: vxlanPort, GBP: true}
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, a := range []netip.Addr{v4, v6} {
		key := skep.Tunnel{IPv6: a.Is6(), Src: words(a), Dst: words(a), Flags: packet.TunnelOptions | packet.TunnelCsum, OptLen: 4}
		f.Add(c.encapsulate(nil, make([]byte, 60), &key, [6]byte{}, [6]byte{}, a, 0, 0), true)
		f.Add(c.encapsulate(nil, make([]byte, 60), &key, [6]byte{}, [6]byte{}, a, 0, 0), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, geneve bool) {
		c := TunnelConfig{Kind: VXLAN, GBP: true}
		if geneve {
			c.Kind = Geneve
		}
		if len(b) >= ethernetHeader {
			behindTags(b)
			uncarryECN(bytes.Clone(b), 3)
			uncarryECN(bytes.Clone(b), 1)
		}
		o, ok := parseOuter(b)
		if !ok {
			return
		}
		var key skep.Tunnel
		if inner, ok := c.parse(o.payload, &key); ok && len(inner) > len(b) {
			t.Error("more comes out than was in")
		}
	})
}
