package helpers

import (
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

func dynRead(i int, off, n, flags uint64) step {
	return call(catalog.FnDynptrRead, data(1000), imm(n), dyn(i), imm(off), imm(flags))
}

func dynWrite(i int, off, n, flags uint64) step {
	return call(catalog.FnDynptrWrite, dyn(i), imm(off), data(2000), imm(n), imm(flags))
}

// dynState asks for all there is to know of a dynptr.
func dynState(i int) []step {
	return []step{kcall("bpf_dynptr_size", dyn(i)), low8(kcall("bpf_dynptr_is_null", dyn(i))), low8(kcall("bpf_dynptr_is_rdonly", dyn(i)))}
}

// low8 compares a bool, of which the kernel sets one byte.
func low8(s step) step { s.mask = 0xff; return s }

func TestDynptrLocal(t *testing.T) {
	from := func(off int, n, flags uint64) step {
		return call(catalog.FnDynptrFromMem, data(off), imm(n), imm(flags), dyn(0))
	}
	var scripts []script
	add := func(name string, steps ...step) {
		scripts = append(scripts, script{name: name, prog: tc, pkt: tcp4, data: payload(3000), steps: append(steps, dynState(0)...)})
	}
	for _, c := range [][2]uint64{{0, 8}, {0, 64}, {0, 65}, {60, 4}, {61, 4}, {64, 0}, {65, 0}, {0xffffffff, 2}, {1 << 32, 4}} {
		for _, flags := range []uint64{0, 1} {
			add(fmt.Sprintf("read %v flags %d", c, flags), from(0, 64, 0), dynRead(0, c[0], c[1], flags))
			add(fmt.Sprintf("write %v flags %d", c, flags), from(0, 64, 0), dynWrite(0, c[0], c[1], flags))
		}
	}
	add("of nothing", from(0, 0, 0), dynRead(0, 0, 0, 0))
	add("flags", from(0, 64, 1), dynRead(0, 0, 4, 0), dynWrite(0, 0, 4, 0))
	add("overlap", from(996, 64, 0), dynRead(0, 0, 60, 0))
	for _, c := range [][2]uint64{{0, 64}, {4, 60}, {10, 20}, {20, 10}, {0, 65}, {65, 65}, {64, 64}, {1 << 32, 8}} {
		add(fmt.Sprintf("adjust %v", c), from(0, 64, 0), kcall("bpf_dynptr_adjust", dyn(0), imm(c[0]), imm(c[1])), dynRead(0, 2, 4, 0), dynWrite(0, 0, 8, 0))
	}
	add("adjust twice", from(0, 64, 0), kcall("bpf_dynptr_adjust", dyn(0), imm(10), imm(50)), kcall("bpf_dynptr_adjust", dyn(0), imm(10), imm(20)), dynRead(0, 0, 10, 0), dynRead(0, 0, 11, 0))
	add("adjust null", from(0, 64, 1), kcall("bpf_dynptr_adjust", dyn(0), imm(0), imm(0)))
	scripts = append(scripts,
		script{name: "clone", prog: tc, pkt: tcp4, data: payload(3000), steps: append([]step{from(0, 64, 0),
			kcall("bpf_dynptr_adjust", dyn(0), imm(4), imm(40)), kcall("bpf_dynptr_clone", dyn(0), dyn(1)), dynRead(1, 0, 8, 0)}, dynState(1)...)},
		script{name: "clone null", prog: tc, pkt: tcp4, data: payload(3000), steps: append([]step{from(0, 64, 1), kcall("bpf_dynptr_clone", dyn(0), dyn(1))}, dynState(1)...)})
	second := call(catalog.FnDynptrFromMem, data(32), imm(64), imm(0), dyn(1))
	for _, c := range [][3]uint64{{0, 0, 64}, {8, 0, 32}, {0, 16, 48}, {0, 16, 49}, {60, 0, 5}, {0, 0, 0}, {1, 0, 64}} {
		s := script{name: fmt.Sprintf("copy %v", c), prog: tc, pkt: tcp4, data: payload(3000), steps: []step{from(0, 64, 0), second,
			kcall("bpf_dynptr_copy", dyn(0), imm(c[0]), dyn(1), imm(c[1]), imm(c[2]))}}
		scripts = append(scripts, s)
		add(fmt.Sprintf("memset %v", c), from(0, 64, 0), kcall("bpf_dynptr_memset", dyn(0), imm(c[0]), imm(c[2]), imm(0x5a)))
	}
	runScripts(t, scripts)
}

func TestDynptrPacket(t *testing.T) {
	var scripts []script
	slice := func(off, n uint64, buf bool) step {
		b := data(500)
		if !buf {
			b = imm(0)
		}
		return truth(kcall("bpf_dynptr_slice", dyn(0), imm(off), b, imm(n)))
	}
	size := uint64(len(tcp4))
	kinds := []struct {
		name  string
		prog  catalog.ProgType
		kfunc string
	}{{"tc", tc, "bpf_dynptr_from_skb"}, {"filter", filter, "bpf_dynptr_from_skb"}, {"xdp", xdp, "bpf_dynptr_from_xdp"}}
	for _, k := range kinds {
		from := func(flags uint64) step { return kcall(k.kfunc, ctx, imm(flags), dyn(0)) }
		add := func(name string, steps ...step) {
			scripts = append(scripts, script{name: k.name + " " + name, prog: k.prog, pkt: tcp4, data: payload(3000), steps: append(steps, dynState(0)...)})
		}
		add("flags", from(1), dynRead(0, 0, 4, 0))
		for _, c := range [][2]uint64{{0, 14}, {20, 8}, {size - 4, 4}, {size - 14, 1}, {size, 0}, {size - 3, 4}, {size + 1, 0}} {
			add(fmt.Sprintf("read %v", c), from(0), dynRead(0, c[0], c[1], 0))
			for _, flags := range []uint64{0, 1, 2, 4} {
				add(fmt.Sprintf("write %v flags %d", c, flags), from(0), dynWrite(0, c[0], c[1], flags))
			}
			add(fmt.Sprintf("memset %v", c), from(0), kcall("bpf_dynptr_memset", dyn(0), imm(c[0]), imm(c[1]), imm(0x5a)))
			if c[1] > 0 {
				add(fmt.Sprintf("slice %v", c), from(0), slice(c[0], c[1], true), slice(c[0], c[1], false))
				if k.prog == filter { // may not write packets
					continue
				}
				add(fmt.Sprintf("slice to write %v", c), from(0), truth(kcall("bpf_dynptr_slice_rdwr", dyn(0), imm(c[0]), data(500), imm(c[1]))))
			}
		}
		add("adjusted", from(0), kcall("bpf_dynptr_adjust", dyn(0), imm(14), imm(40)), dynRead(0, 0, 8, 0), dynRead(0, 20, 8, 0), slice(4, 4, true))
	}
	for _, flags := range []uint64{0, 1} {
		scripts = append(scripts, script{name: fmt.Sprintf("metadata flags %d", flags), prog: tc, pkt: tcp4, data: payload(3000), steps: append([]step{
			kcall("bpf_dynptr_from_skb_meta", ctx, imm(flags), dyn(0)), dynRead(0, 0, 0, 0), dynRead(0, 0, 1, 0), dynWrite(0, 0, 0, 0), dynWrite(0, 0, 1, 0),
		}, dynState(0)...)})
	}
	big := eth(0x0800, ip4(17, udp(payload(9000))))
	for _, off := range []uint64{0, 3500, 3520, 3600, 7600, 7610, 7616, 8000} {
		scripts = append(scripts, script{name: fmt.Sprintf("paged at %d", off), prog: xdp, pkt: big, frags: true, data: payload(3000), steps: []step{
			kcall("bpf_dynptr_from_xdp", ctx, imm(0), dyn(0)), dynRead(0, off, 20, 0), slice(off, 20, false), slice(off, 20, true), dynWrite(0, off, 30, 0),
			kcall("bpf_dynptr_memset", dyn(0), imm(off), imm(50), imm(0x5a)),
		}})
	}
	runScripts(t, scripts)
}

func TestLegacyLoads(t *testing.T) {
	var scripts []script
	size := len(tcp4)
	for _, prog := range []catalog.ProgType{tc, filter} {
		for _, w := range []isa.Opcode{isa.B, isa.H, isa.W} {
			for _, off := range []int{0, 1, 12, size - 4, size - 3, size - 2, size - 1, size, size - 18, size - 16, 0x7fffffff, -1, -0x100000, -0x100000 + 9, -0x100000 + size - 16,
				-0x100000 - 1, -0x200000, -0x200000 + 12, -0x200000 + size, -0x200001, -0x80000000} {
				scripts = append(scripts, script{name: fmt.Sprintf("type %d, %d bytes at %d", prog, w.Bytes(), off), prog: prog, pkt: tcp4, steps: []step{legacy(w, off)}})
			}
		}
	}
	runScripts(t, scripts)
}
