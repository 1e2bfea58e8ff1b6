package helpers

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

func TestXDPEdges(t *testing.T) {
	head := func(n int64) step { return call(catalog.FnXDPAdjustHead, ctx, neg(n)) }
	tail := func(n int64) step { return call(catalog.FnXDPAdjustTail, ctx, neg(n)) }
	meta := func(n int64) step { return call(catalog.FnXDPAdjustMeta, ctx, neg(n)) }
	size := call(catalog.FnXDPGetBuffLen, ctx)
	var scripts []script
	add := func(name string, steps ...step) {
		scripts = append(scripts, script{name: name, prog: xdp, pkt: tcp4, steps: append(steps, size)})
	}
	n := int64(len(tcp4))
	for _, d := range []int64{0, 1, 14, n - 14, n - 13, n, n + 1, -1, -40, -215, -216, -217, -256, 1 << 31, 1 << 32, 1<<31 - 1, -1 << 31} {
		add(fmt.Sprintf("head %d", d), head(d))
		add(fmt.Sprintf("tail %d", d), tail(d))
		add(fmt.Sprintf("meta %d", d), meta(d))
	}
	for _, d := range []int64{3520 - n, 3521 - n, 3520, 14 - n, 13 - n} {
		add(fmt.Sprintf("tail by %d", d), tail(d))
	}
	for _, d := range []int64{-4, -8, -32, -36, -252, -212, -220, -6, 4} {
		add(fmt.Sprintf("meta and back %d", d), meta(d), meta(-d), meta(d), head(-4), head(8))
		add(fmt.Sprintf("meta twice %d", d), meta(d), meta(d), head(-20))
	}
	add("head and tail", head(-20), tail(10), head(5), tail(-30))
	add("shrunk to nothing", head(n-14), tail(-1), head(-(n - 14)))
	given := func(meta uint32, steps ...step) script {
		return script{name: fmt.Sprintf("given %d bytes of metadata", meta), prog: xdp, pkt: tcp4, ctx: xdpMD(meta, uint32(len(tcp4))), steps: append(steps, size)}
	}
	for _, m := range []uint32{0, 4, 32, 6, 216, 220, 256} {
		scripts = append(scripts, given(m, meta(-4), head(-4), meta(4)))
	}
	runScripts(t, scripts)
}

func TestXDPBytes(t *testing.T) {
	get := func(off, n uint64) step { return call(catalog.FnXDPLoadBytes, ctx, imm(off), data(0), imm(n)) }
	put := func(off, n uint64) step { return call(catalog.FnXDPStoreBytes, ctx, imm(off), data(0), imm(n)) }
	size := uint64(len(tcp4))
	var scripts []script
	for _, c := range []struct{ off, n uint64 }{
		{0, 14}, {0, 1}, {size - 1, 1}, {size, 1}, {size - 8, 9}, {0, size}, {0, size + 1}, {0xffff, 1}, {0x10000, 1},
		{0xffffffff, 2}, {1 << 32, 4}, {1 << 31, 4},
	} {
		scripts = append(scripts,
			script{name: fmt.Sprintf("load %d+%d", c.off, c.n), prog: xdp, pkt: tcp4, data: payload(128), steps: []step{get(c.off, c.n)}},
			script{name: fmt.Sprintf("store %d+%d", c.off, c.n), prog: xdp, pkt: tcp4, data: payload(128), steps: []step{put(c.off, c.n)}})
	}
	runScripts(t, scripts)
}

func TestXDPFrags(t *testing.T) {
	big := eth(0x0800, ip4(17, udp(payload(9000))))
	size := call(catalog.FnXDPGetBuffLen, ctx)
	tail := func(n int64) step { return call(catalog.FnXDPAdjustTail, ctx, neg(n)) }
	get := func(off, n uint64) step { return call(catalog.FnXDPLoadBytes, ctx, imm(off), data(0), imm(n)) }
	put := func(off, n uint64) step { return call(catalog.FnXDPStoreBytes, ctx, imm(off), data(0), imm(n)) }
	var scripts []script
	add := func(name string, pkt []byte, steps ...step) {
		scripts = append(scripts, script{name: name, prog: xdp, pkt: pkt, frags: true, data: payload(2000), steps: append(steps, size)})
	}
	n := int64(len(big))
	for _, d := range []int64{0, 1, 100, 2629, 2630, 4096, -1, -100, -1427, -1428, -1500, -5000, -5523, -5524, -5525, -6000, -(n - 14), -(n - 13), -n} {
		add(fmt.Sprintf("tail %d", d), big, tail(d))
		add(fmt.Sprintf("tail %d, then 1", d), big, tail(d), tail(1))
	}
	add("shrink and grow", big, tail(-1000), tail(2000), tail(-6000), tail(300))
	for _, off := range []uint64{0, 3500, 3519, 3520, 3600, 7600, 7616, uint64(n) - 100, uint64(n) - 99, uint64(n)} {
		add(fmt.Sprintf("load at %d", off), big, get(off, 100))
		add(fmt.Sprintf("store at %d", off), big, put(off, 100))
	}
	add("head", big, call(catalog.FnXDPAdjustHead, ctx, imm(100)), get(3400, 100), call(catalog.FnXDPAdjustHead, ctx, neg(-200)), get(3600, 100))
	add("head into pages", big, call(catalog.FnXDPAdjustHead, ctx, imm(3507)), call(catalog.FnXDPAdjustHead, ctx, imm(3506)))
	linear := script{name: "linear part given", prog: xdp, pkt: big[:1000], ctx: xdpMD(0, 200), frags: true, data: payload(100),
		steps: []step{get(150, 100), put(150, 100), tail(10), tail(-900), tail(20), size}}
	scripts = append(scripts, linear)
	runScripts(t, scripts)
}

func TestRedirect(t *testing.T) {
	var scripts []script
	for _, flags := range []uint64{0, 1, 2, 1 << 16, 1 << 17, 1 << 32} {
		scripts = append(scripts,
			script{name: fmt.Sprintf("xdp flags %#x", flags), prog: xdp, pkt: tcp4, steps: []step{call(catalog.FnRedirect, imm(1), imm(flags))}},
			script{name: fmt.Sprintf("tc flags %#x", flags), prog: tc, pkt: tcp4, steps: []step{call(catalog.FnRedirect, imm(1), imm(flags))}},
			script{name: fmt.Sprintf("peer flags %#x", flags), prog: tc, pkt: tcp4, steps: []step{call(catalog.FnRedirectPeer, imm(1), imm(flags))}},
			script{name: fmt.Sprintf("neigh flags %#x", flags), prog: tc, pkt: tcp4, steps: []step{call(catalog.FnRedirectNeigh, imm(1), imm(0), imm(0), imm(flags))}},
			script{name: fmt.Sprintf("clone flags %#x", flags), prog: tc, pkt: udp4, steps: []step{call(catalog.FnCloneRedirect, ctx, imm(1), imm(flags))}},
			gso(script{name: fmt.Sprintf("clone flags %#x", flags), prog: tc, pkt: udp4, steps: []step{call(catalog.FnCloneRedirect, ctx, imm(1), imm(flags))}}))
	}
	for _, n := range []uint64{1, 19, 20, 24} {
		scripts = append(scripts, script{name: fmt.Sprintf("neigh of %d bytes", n), prog: tc, pkt: tcp4,
			steps: []step{call(catalog.FnRedirectNeigh, imm(1), data(0), imm(n), imm(0))}})
	}
	scripts = append(scripts, script{name: "clone to nowhere", prog: tc, pkt: tcp4, steps: []step{call(catalog.FnCloneRedirect, ctx, imm(0x7ffffff), imm(0))}},
		script{name: "clone bare header", prog: tc, pkt: tcp4[:14], steps: []step{call(catalog.FnCloneRedirect, ctx, imm(1), imm(0))}},
	)
	runScripts(t, scripts)
}

// redirect maps with an entry at key 1; devmaps hold interface 1, cpumaps a queue of 8.
func redirectScript(name string, typ catalog.MapType, key, flags uint64) script {
	def := catalog.MapDef{Name: "targets", Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: 4}
	value := uint32(1)
	if typ == catalog.MapCPUMap {
		value = 8
	}
	return script{
		name: name, prog: xdp, pkt: tcp4, maps: []catalog.MapDef{def},
		fill: func(t *testing.T, _ int, update func(key, value []byte)) {
			if typ != catalog.MapXSKMap {
				update([]byte{1, 0, 0, 0}, binary.NativeEndian.AppendUint32(nil, value))
			}
		},
		steps: []step{call(catalog.FnRedirectMap, mapArg(0), imm(key), imm(flags))},
	}
}

func TestRedirectMap(t *testing.T) {
	var scripts []script
	for _, typ := range []catalog.MapType{catalog.MapDevMap, catalog.MapDevMapHash, catalog.MapCPUMap, catalog.MapXSKMap} {
		for _, key := range []uint64{0, 1, 4, 1 << 32, 1<<32 + 1, 0xffffffff} {
			for _, flags := range []uint64{0, 1, 2, 3, 4, 8, 0x18, 0x10, 0x12, 0x1a, 0x20, 1 << 32} {
				scripts = append(scripts, redirectScript(fmt.Sprintf("type %d[%#x] flags %#x", typ, key, flags), typ, key, flags))
			}
		}
	}
	runScripts(t, scripts)
}
