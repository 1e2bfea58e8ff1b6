package helpers

import (
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

const (
	tc     = catalog.ProgSchedCls
	filter = catalog.ProgSocketFilter
	xdp    = catalog.ProgXDP
)

// what a tc program can see of a packet.
var tcFields = []step{
	load(skLen), load(skPktType), load(skMark), load(skQueue), load(skProtocol), load(skVLANPresent),
	load(skVLANTCI), load(skVLANProto), load(skPriority), load(skIngress), load(skIfindex), load(skTCIndex),
	load(skCB), load(skCB + 16), load(skHash), load(skTCClassid), load(skWireLen), load(skGSOSegs),
	load(skGSOSize),
}

func TestSKBContext(t *testing.T) {
	var scripts []script
	for name, pkt := range map[string][]byte{
		"tcp4": tcp4, "udp6": udp6, "arp": arp, "vlan": vlan4, "qinq": qinq4, "llc": llc,
		"broadcast": append([]byte{255, 255, 255, 255, 255, 255}, tcp4[6:]...),
		"multicast": withByte(tcp4, 0, 1), "other host": withByte(tcp4, 5, 7),
		"raw ipx": withByte(withByte(llc, 14, 0xff), 15, 0xff),
		"runt":    tcp4[:14], "no ip header": tcp4[:33], "no ipv6 header": udp6[:50],
	} {
		scripts = append(scripts,
			script{name: "tc " + name, prog: tc, pkt: pkt, steps: tcFields},
			script{name: "filter " + name, prog: filter, pkt: pkt, steps: []step{load(skLen), load(skPktType), load(skProtocol)}})
	}
	full := skb(map[int]uint32{
		skMark: 1, skPriority: 2, skIngress: 1, skIfindex: 1, skCB: 3, skCB + 4: 4, skCB + 8: 5, skCB + 12: 6, skCB + 16: 7,
		skTstamp: 8, skTstamp + 4: 9, skWireLen: 2000, skGSOSegs: 3, skGSOSize: 100, skHWTstamp: 11,
	})
	scripts = append(scripts,
		script{name: "given context", prog: tc, pkt: tcp4, ctx: full, steps: tcFields},
		script{name: "empty context", prog: tc, pkt: tcp4, ctx: skb(nil), steps: tcFields},
		script{name: "short wire length", prog: tc, pkt: tcp4, ctx: skb(map[int]uint32{skWireLen: 10})},
		script{name: "stores", prog: tc, pkt: tcp4, ctx: full, steps: []step{
			store(skMark, 77), store(skPriority, 78), store(skTCIndex, 79), store(skTCClassid, 80), store(skCB+4, 81),
			load(skMark), load(skTCIndex), load(skTCClassid),
		}},
		script{name: "socket", prog: tc, pkt: tcp4, steps: []step{
			sockField(0), sockField(4), sockField(8), sockField(12), sockField(16), sockField(20), sockField(24),
			sockField(28), sockField(44), sockField(52), sockField(56), sockField(72), low32(sockField(76)), // the kernel makes 64 bits of no queue
		}},
		script{name: "socket6", prog: tc, pkt: udp6, steps: []step{
			sockField(4), sockField(28), sockField(32), sockField(40), sockField(56), sockField(68), sockField(24),
		}},
		script{name: "socket of arp", prog: tc, pkt: arp, steps: []step{sockField(4), sockField(24), sockField(72)}},
	)
	runScripts(t, scripts)
}

func TestSKBLoadStore(t *testing.T) {
	load := func(off uint64, n uint64) step { return call(catalog.FnSKBLoadBytes, ctx, imm(off), data(0), imm(n)) }
	save := func(off, n, flags uint64) step {
		return call(catalog.FnSKBStoreBytes, ctx, imm(off), data(0), imm(n), imm(flags))
	}
	rel := func(off, n, base uint64) step {
		return call(catalog.FnSKBLoadBytesRelative, ctx, imm(off), data(0), imm(n), imm(base))
	}
	var scripts []script
	add := func(name string, prog catalog.ProgType, csum bool, steps ...step) {
		scripts = append(scripts, script{name: name, prog: prog, pkt: tcp4, csum: csum, data: payload(128), steps: steps})
	}
	size := uint64(len(tcp4))
	for _, c := range []struct{ off, n uint64 }{
		{0, 14}, {0, 1}, {12, 2}, {size - 1, 1}, {size, 1}, {size - 8, 9}, {0, size}, {0, size + 1},
		{1 << 31, 4}, {0xffffffff, 4}, {0x7fffffff, 4}, {1<<32 + 2, 4},
	} {
		add(fmt.Sprintf("load %d+%d", c.off, c.n), tc, false, load(c.off, c.n))
		add(fmt.Sprintf("filter load %d+%d", c.off, c.n), filter, false, load(c.off, c.n))
		add(fmt.Sprintf("store %d+%d", c.off, c.n), tc, false, save(c.off, c.n, 0))
	}
	for flags := range uint64(5) {
		add(fmt.Sprintf("store flags %d", flags), tc, false, call(catalog.FnSetHash, ctx, imm(5)), save(20, 4, flags), call(catalog.FnGetHashRecalc, ctx))
	}
	scripts[len(scripts)-1].steps = scripts[len(scripts)-1].steps[:2]
	for i := range scripts { // a recalculated hash is nobody's business but its being there
		for j := range scripts[i].steps {
			if scripts[i].steps[j].fn == catalog.FnGetHashRecalc {
				scripts[i].steps[j].truth = true
			}
		}
	}
	for _, off := range []uint64{14, 15, 33, 50} {
		for _, n := range []uint64{1, 2, 3, 8, 13} {
			add(fmt.Sprintf("sum kept at %d+%d", off, n), tc, true, save(off, n, 1))
			add(fmt.Sprintf("sum broken at %d+%d", off, n), tc, true, save(off, n, 0))
		}
	}
	for _, base := range []uint64{0, 1, 2} {
		for _, off := range []uint64{0, 20, 93, 80, 94, 0xffff, 0x10000} {
			add(fmt.Sprintf("relative %d at %d", base, off), tc, false, rel(off, 6, base))
			add(fmt.Sprintf("filter relative %d at %d", base, off), filter, false, rel(off, 6, base))
		}
	}
	for _, n := range []uint64{0, 1, 14, 34, size - 1, size, size + 1, 1 << 31, 1 << 32} {
		add(fmt.Sprintf("pull %d", n), tc, false, call(catalog.FnSKBPullData, ctx, imm(n)))
	}
	runScripts(t, scripts)
}

func TestSKBChecksums(t *testing.T) {
	l3 := func(off, from, to, flags uint64) step {
		return call(catalog.FnL3CsumReplace, ctx, imm(off), imm(from), imm(to), imm(flags))
	}
	l4 := func(off, from, to, flags uint64) step {
		return call(catalog.FnL4CsumReplace, ctx, imm(off), imm(from), imm(to), imm(flags))
	}
	diff := func(from, fn, to, tn int, seed uint64) step {
		f, g := data(from), data(to)
		if fn == 0 {
			f = imm(0)
		}
		if tn == 0 {
			g = imm(0)
		}
		return call(catalog.FnCsumDiff, f, imm(uint64(fn)), g, imm(uint64(tn)), imm(seed))
	}
	var scripts []script
	add := func(name string, csum bool, steps ...step) {
		scripts = append(scripts, script{name: name, prog: tc, pkt: tcp4, csum: csum, data: payload(1024), steps: steps})
	}
	for _, flags := range []uint64{0, 1, 2, 3, 4, 5, 8, 15, 16, 1 << 32} {
		add(fmt.Sprintf("l3 size %d", flags), false, l3(24, 0x0100000a, 0x0200000a, flags))
		add(fmt.Sprintf("l3 no from, size %d", flags), false, l3(24, 0, 0x12345678, flags))
	}
	for _, off := range []uint64{24, 25, 0xfffe, 0x10000, uint64(len(tcp4)) - 2, uint64(len(tcp4)) - 1, 1<<32 + 24} {
		add(fmt.Sprintf("l3 at %d", off), false, l3(off, 0x1111, 0x2222, 2))
		add(fmt.Sprintf("l4 at %d", off), false, l4(off, 0x1111, 0x2222, 2))
	}
	for _, flags := range []uint64{0, 2, 4, 0x10, 0x12, 0x14, 0x22, 0x32, 0x62, 0x74, 0x80, 0x90, 0x94, 0x100, 0x6, 0x1000} {
		add(fmt.Sprintf("l4 flags %#x", flags), false, l4(50, 0xbeef, 0x1234, flags))
		add(fmt.Sprintf("l4 no from, flags %#x", flags), false, l4(50, 0, 0x4321, flags))
		add(fmt.Sprintf("l4 complete, flags %#x", flags), true, l4(50, 0xbeef, 0x1234, flags), call(catalog.FnCsumUpdate, ctx, imm(0)))
		add(fmt.Sprintf("l4 complete, no from, flags %#x", flags), true, l4(50, 0, 0xfeed, flags), call(catalog.FnCsumUpdate, ctx, imm(0)))
	}
	// A UDP checksum of zero means none, and must neither appear nor be touched.
	zero := withByte(withByte(udp4, 40, 0), 41, 0)
	for _, flags := range []uint64{0x22, 0x62, 0x2, 0x24, 0x64} {
		scripts = append(scripts, script{name: fmt.Sprintf("udp without checksum, flags %#x", flags), prog: tc, pkt: zero,
			steps: []step{l4(40, 0x1111, 0x2222, flags)}})
	}
	// A change that makes the sum zero.
	scripts = append(scripts,
		script{name: "l4 to zero", prog: tc, pkt: udp4, steps: []step{l4(40, 0, 0xfeca, 0x20)}},
		script{name: "l4 to zero, not marked", prog: tc, pkt: udp4, steps: []step{l4(40, 0, 0xfeca, 0)}})
	add("diff", false,
		diff(0, 4, 4, 4, 0), diff(0, 4, 4, 4, 0xffffffff), diff(0, 0, 8, 16, 7), diff(8, 16, 0, 0, 7), diff(0, 0, 0, 0, 0x12345678),
		diff(0, 4, 8, 20, 1), diff(0, 40, 100, 40, 0xabcdef), diff(0, 512, 512, 512, 1), diff(0, 256, 256, 256, 3))
	add("diff of odd size", false, diff(0, 3, 4, 4, 0))
	add("diff of odd size 2", false, diff(0, 4, 4, 6, 0))
	add("diff of much", false, diff(0, 512, 512, 4, 0))
	for n := range 8 {
		add(fmt.Sprintf("diff of %d bytes", n), false, diff(0, n, 100, 9-n, 0), diff(0, n, 100, 0, 5), diff(0, 0, 100, n, 5))
	}
	add("diff applied", false, diff(100, 4, 104, 4, 0), call(catalog.FnL4CsumReplace, ctx, imm(50), imm(0), res(0), imm(0x10)),
		call(catalog.FnL3CsumReplace, ctx, imm(24), imm(0), res(0), imm(0)))
	add("update without sum", false, call(catalog.FnCsumUpdate, ctx, imm(5)))
	add("update", true, call(catalog.FnCsumUpdate, ctx, imm(5)), call(catalog.FnCsumUpdate, ctx, neg(-6)), call(catalog.FnCsumUpdate, ctx, imm(0)))
	add("level", false, call(catalog.FnCsumLevel, ctx, imm(0)), call(catalog.FnCsumLevel, ctx, imm(2)), call(catalog.FnCsumLevel, ctx, imm(1)),
		call(catalog.FnCsumLevel, ctx, imm(0)), call(catalog.FnCsumLevel, ctx, imm(1)), call(catalog.FnCsumLevel, ctx, imm(1)),
		call(catalog.FnCsumLevel, ctx, imm(1)), call(catalog.FnCsumLevel, ctx, imm(1)), call(catalog.FnCsumLevel, ctx, imm(0)),
		call(catalog.FnCsumLevel, ctx, imm(2)), call(catalog.FnCsumLevel, ctx, imm(0)), call(catalog.FnCsumLevel, ctx, imm(3)),
		call(catalog.FnCsumLevel, ctx, imm(0)), call(catalog.FnCsumLevel, ctx, imm(4)), call(catalog.FnCsumLevel, ctx, imm(1<<32)))
	add("level of complete", true, call(catalog.FnCsumLevel, ctx, imm(1)), call(catalog.FnCsumLevel, ctx, imm(0)))
	runScripts(t, scripts)
}
