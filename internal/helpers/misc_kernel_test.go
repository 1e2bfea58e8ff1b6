package helpers

import (
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

func TestTunnel(t *testing.T) {
	set := func(n, flags uint64) step { return call(catalog.FnSKBSetTunnelKey, ctx, data(0), imm(n), imm(flags)) }
	get := func(n, flags uint64) step { return call(catalog.FnSKBGetTunnelKey, ctx, data(100), imm(n), imm(flags)) }
	setOpt := func(n uint64) step { return call(catalog.FnSKBSetTunnelOpt, ctx, data(200), imm(n)) }
	getOpt := func(n uint64) step { return call(catalog.FnSKBGetTunnelOpt, ctx, data(600), imm(n)) }
	key := make([]byte, 44)
	copy(key, []byte{1, 2, 3, 4, 10, 20, 30, 40})
	key[tunTOS], key[tunTTL] = 0x10, 64
	copy(key[tunLocal:], []byte{50, 60, 70, 80})
	key6 := append([]byte(nil), key...)
	copy(key6[8:], payload(12))
	copy(key6[tunLabel:], []byte{1, 2, 0xff, 0xff})
	copy(key6[tunLocal+4:], payload(12))
	mem := func(key []byte) []byte {
		b := make([]byte, 1200)
		copy(b, key)
		copy(b[100:], payload(100))
		copy(b[200:], payload(900))
		return b
	}
	var scripts []script
	add := func(name string, key []byte, steps ...step) {
		scripts = append(scripts, script{name: name, prog: tc, pkt: tcp4, data: mem(key), steps: steps})
	}
	for _, n := range []uint64{44, 28, 24, 22, 8, 4, 40, 20, 48} {
		for _, flags := range []uint64{0, 1} {
			add(fmt.Sprintf("set %d get 44 flags %d", n, flags), key, set(n, flags), get(44, flags))
			add(fmt.Sprintf("get %d set 44 flags %d", n, flags), key, set(44, flags), get(n, flags))
		}
		add(fmt.Sprintf("get %d of none", n), key, get(n, 0))
	}
	for _, flags := range []uint64{2, 4, 8, 16, 32, 64, 2 | 4 | 8 | 32, 1 | 2 | 4, 1 << 32} {
		add(fmt.Sprintf("set flags %#x", flags), key, set(44, flags), get(44, flags&1|16))
		add(fmt.Sprintf("get flags %#x", flags), key, set(44, 0), get(44, flags))
	}
	add("v6", key6, set(44, 1), get(44, 1), get(44, 0), get(8, 1), get(28, 1))
	add("v6 key as v4", key6, set(44, 0))
	ext := append([]byte(nil), key...)
	ext[tunExt] = 1
	add("ext", ext, set(44, 0))
	for _, n := range []uint64{4, 8, 252, 256, 3, 6} {
		add(fmt.Sprintf("opt %d", n), key, set(44, 0), setOpt(n), getOpt(n), getOpt(n+8), getOpt(2), get(44, 16))
	}
	add("opt without key", key, setOpt(8), getOpt(8))
	add("opt before and after", key, set(44, 0), getOpt(8), setOpt(8), set(44, 0), getOpt(8))
	runScripts(t, scripts)
}

func TestMarkings(t *testing.T) {
	hash := call(catalog.FnGetHashRecalc, ctx)
	same := func(s step) step { s.truth = true; return s }
	ce := call(catalog.FnSKBEcnSetCe, ctx)
	stamp := func(ns, clock uint64) step { return call(catalog.FnSKBSetTstamp, ctx, imm(ns), imm(clock)) }
	scripts := []script{
		{name: "hash", prog: tc, pkt: tcp4, steps: []step{load(skHash), same(hash), truth(load(skHash))}},
		{name: "hash of arp", prog: tc, pkt: arp, steps: []step{same(hash)}},
		{name: "set hash", prog: tc, pkt: tcp4, steps: []step{call(catalog.FnSetHash, ctx, imm(77)), hash, load(skHash), call(catalog.FnSetHashInvalid, ctx), load(skHash), same(hash)}},
		{name: "set hash 0", prog: tc, pkt: tcp4, steps: []step{call(catalog.FnSetHash, ctx, imm(0)), hash}},
	}
	for tos := range byte(4) {
		scripts = append(scripts,
			script{name: fmt.Sprintf("ce on %d", tos), prog: tc, pkt: withByte(tcp4, 15, 0xb8|tos), steps: []step{ce, ce}},
			script{name: fmt.Sprintf("ce on v6 %d", tos), prog: tc, pkt: withByte(udp6, 15, tos<<4|5), steps: []step{ce, ce}},
			script{name: fmt.Sprintf("ce keeps v6 sum %d", tos), prog: tc, csum: true, pkt: withByte(udp6, 15, tos<<4|5), steps: []step{ce, call(catalog.FnCsumUpdate, ctx, imm(0))}},
			script{name: fmt.Sprintf("ce behind vlan %d", tos), prog: tc, pkt: withByte(vlan4, 15, 0xb8|tos), steps: []step{ce}},
			script{name: fmt.Sprintf("ce behind a popped vlan %d", tos), prog: tc, pkt: withByte(vlan4, 19, 0xb8|tos), steps: []step{call(catalog.FnSKBVlanPop, ctx), ce}})
	}
	for _, sum := range [][2]byte{{0, 0}, {0xff, 0xff}, {0xff, 0xfe}, {0, 1}, {0xff, 0xfd}} {
		scripts = append(scripts, script{name: fmt.Sprintf("ce with checksum %x", sum), prog: tc,
			pkt: withByte(withByte(ecnECT0, 24, sum[0]), 25, sum[1]), steps: []step{ce}})
	}
	scripts = append(scripts, script{name: "ce on arp", prog: tc, pkt: arp, steps: []step{ce}})
	for clock := range uint64(4) {
		for _, ns := range []uint64{0, 123456789012} {
			for name, pkt := range map[string][]byte{"tcp4": tcp4, "udp6": udp6, "arp": arp} {
				scripts = append(scripts, script{name: fmt.Sprintf("stamp %s %d by %d", name, ns, clock), prog: tc, pkt: pkt, ctx: skb(nil), steps: []step{stamp(ns, clock)}})
			}
		}
	}
	for _, fn := range []catalog.HelperID{catalog.FnGetCGroupClassid, catalog.FnGetRouteRealm, catalog.FnGetSocketUid} {
		scripts = append(scripts, script{name: "ask " + catalog.HelperByID(fn).Name, prog: tc, pkt: tcp4, steps: []step{call(fn, ctx)}})
	}
	for _, n := range []uint64{28, 24, 4} {
		scripts = append(scripts, script{name: fmt.Sprintf("xfrm state of %d bytes", n), prog: tc, pkt: tcp4, data: payload(64),
			steps: []step{call(catalog.FnSKBGetXfrmState, ctx, imm(0), data(0), imm(n), imm(0))}})
	}
	scripts = append(scripts, script{name: "cookie", prog: tc, pkt: tcp4, steps: []step{same(call(catalog.FnGetSocketCookie, ctx)), truth(call(catalog.FnGetNetnsCookie, ctx))}})
	runScripts(t, scripts)
}

func TestMTU(t *testing.T) {
	mtu := func(ifindex, diff int64, flags uint64) step {
		return call(catalog.FnCheckMtu, ctx, neg(ifindex), data(0), neg(diff), imm(flags))
	}
	var scripts []script
	for _, want := range []uint32{0, 1, 100, 65522, 65536, 65537, 70000} {
		mem := []byte{byte(want), byte(want >> 8), byte(want >> 16), 0}
		for _, diff := range []int64{0, 1, -100, 65442, 65443, 66000} {
			for _, prog := range []catalog.ProgType{tc, xdp} {
				name := fmt.Sprintf("%s %d by %d", prog, want, diff)
				scripts = append(scripts, script{name: name, prog: prog, pkt: tcp4, data: mem, steps: []step{mtu(1, diff, 0), mtu(0, diff, 0)}})
				if prog == tc {
					scripts = append(scripts, gso(script{name: name, prog: prog, pkt: tcp4, data: mem, steps: []step{mtu(1, diff, 0)}}))
				}
			}
		}
		for _, flags := range []uint64{1, 2, 1 << 32} {
			s := script{name: fmt.Sprintf("tc %d flags %#x", want, flags), prog: tc, pkt: tcp4, data: mem, steps: []step{mtu(1, 0, flags), mtu(1, 5, flags)}}
			scripts = append(scripts, s, gso(s),
				script{name: fmt.Sprintf("xdp %d flags %#x", want, flags), prog: xdp, pkt: tcp4, data: mem, steps: []step{mtu(1, 0, flags)}})
		}
	}
	scripts = append(scripts, script{name: "no device", prog: tc, pkt: tcp4, data: make([]byte, 4), steps: []step{mtu(0x7fffff, 0, 0)}})
	runScripts(t, scripts)
}

func TestNumbers(t *testing.T) {
	var scripts []script
	add := func(s string, n int, flags uint64) {
		if n == 0 {
			n = len(s)
		}
		mem := make([]byte, 256)
		copy(mem, s)
		for i := 200; i < 216; i++ {
			mem[i] = 0xaa
		}
		name := fmt.Sprintf("%q of %d flags %d", s, n, flags)
		scripts = append(scripts, script{name: name, prog: tc, pkt: tcp4, data: mem, steps: []step{
			call(catalog.FnStrtol, data(0), imm(uint64(n)), imm(flags), data(200)),
			call(catalog.FnStrtoul, data(0), imm(uint64(n)), imm(flags), data(208)),
		}})
	}
	for _, s := range []string{
		"0", "1", "-1", "123456", "  42", "\t\n\v\f\r 7", "\xa05", "+5", "0x1f", "-0x1f", "0X1F", "017", "08", "0xg", "0x", "x", "-", "- 1", "",
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
		"18446744073709551616", "99999999999999999999999", "12abc", "12 34", "ff", "FfG", "-0", "00x1",
		"0000000000000000000000000000000000000000000000000000000000000012", "000000000000000000000000000000000000000000000000000000000000000000001",
	} {
		for _, base := range []uint64{0, 8, 10, 16} {
			add(s, max(len(s), 1), base)
		}
	}
	for _, flags := range []uint64{1, 2, 7, 9, 17, 31, 32, 42, 1 << 32} {
		add("12", 0, flags)
	}
	add("12345", 3, 10)
	add("   ", 0, 10)
	runScripts(t, scripts)
}

func TestStrncmp(t *testing.T) {
	const konst = 32 // offset of the second string
	for _, c := range []struct {
		s1 string
		n  uint64
		s2 string
	}{
		{"abc", 3, "abc"}, {"abc", 4, "abc"}, {"abc", 3, "abd"}, {"abd", 3, "abc"}, {"ab", 3, "abc"}, {"abc", 2, "abd"}, {"\xff", 1, "a"}, {"", 1, ""}, {"a", 1, ""},
	} {
		buf := newScratch(t, 64)
		copy(buf.Bytes(), str(c.s1))
		copy(buf.Bytes()[konst:], str(c.s2))
		got := int64(Lookup(catalog.FnStrncmp)(nil, buf.Addr(), c.n, buf.Addr()+konst, 0, 0))
		want := int64(0)
		for i := range int(c.n) {
			a, b := str(c.s1 + "\x00")[i], str(c.s2 + "\x00")[i]
			if a != b {
				want = 1
				if a < b {
					want = -1
				}
				break
			}
			if a == 0 {
				break
			}
		}
		if got != want {
			t.Errorf("strncmp(%q, %d, %q) = %d, want %d", c.s1, c.n, c.s2, got, want)
		}
	}
}
