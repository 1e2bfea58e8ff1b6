package helpers

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/mem"
)

// tcpTypes has a tcp_sock of the members that congestion control works on, not in the kernel's order.
func tcpTypes(t *testing.T, without string) *btf.Spec {
	t.Helper()
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	s := &btf.Struct{Name: "tcp_sock"}
	for _, name := range []string{"snd_ssthresh", "snd_cwnd", "prior_cwnd", "snd_cwnd_cnt", "snd_cwnd_clamp", "max_packets_out", "is_cwnd_limited"} {
		if name == without {
			continue
		}
		m := btf.Member{Name: name, Type: u32, Offset: btf.Bits(s.Size * 8)}
		if name == "is_cwnd_limited" {
			m.Offset += 3
			m.BitfieldSize = 1
		}
		s.Members = append(s.Members, m)
		s.Size += 4
	}
	b, err := btf.NewBuilder([]btf.Type{s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestTCPKfuncs(t *testing.T) {
	spec := tcpTypes(t, "")
	var typ *btf.Struct
	if err := spec.TypeByName("tcp_sock", &typ); err != nil {
		t.Fatal(err)
	}
	b, err := mem.Alloc(int(typ.Size))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free()
	e := &Env{Readable: func(addr, n uint64) bool { return n <= mem.Extent(addr) }}
	type sock struct{ cwnd, cnt, clamp, ssthresh, prior, limited, out uint64 }
	names := []string{"snd_cwnd", "snd_cwnd_cnt", "snd_cwnd_clamp", "snd_ssthresh", "prior_cwnd", "is_cwnd_limited", "max_packets_out"}
	fields := func(s *sock) []*uint64 {
		return []*uint64{&s.cwnd, &s.cnt, &s.clamp, &s.ssthresh, &s.prior, &s.limited, &s.out}
	}
	for _, c := range []struct {
		name        string
		in          sock
		a, b        uint64
		ret         uint64
		cwnd, cwcnt uint64 // after
	}{
		{"tcp_reno_ssthresh", sock{cwnd: 21}, 0, 0, 10, 21, 0},
		{"tcp_reno_ssthresh", sock{cwnd: 3}, 0, 0, 2, 3, 0},
		{"tcp_reno_undo_cwnd", sock{cwnd: 5, prior: 9}, 0, 0, 9, 5, 0},
		{"tcp_reno_undo_cwnd", sock{cwnd: 15, prior: 9}, 0, 0, 15, 15, 0},
		{"tcp_slow_start", sock{cwnd: 10, ssthresh: 100, clamp: 200}, 7, 0, 0, 17, 0},
		{"tcp_slow_start", sock{cwnd: 10, ssthresh: 14, clamp: 200}, 7, 0, 3, 14, 0},
		{"tcp_slow_start", sock{cwnd: 10, ssthresh: 100, clamp: 12}, 7, 0, 0, 12, 0},
		{"tcp_cong_avoid_ai", sock{cwnd: 10, clamp: 200}, 10, 3, 0, 10, 3},
		{"tcp_cong_avoid_ai", sock{cwnd: 10, cnt: 9, clamp: 200}, 10, 3, 0, 11, 2},
		{"tcp_cong_avoid_ai", sock{cwnd: 10, cnt: 12, clamp: 200}, 10, 3, 0, 11, 3},
		{"tcp_cong_avoid_ai", sock{cwnd: 10, cnt: 12, clamp: 200}, 10, 35, 0, 14, 5},
		{"tcp_cong_avoid_ai", sock{cwnd: 10, cnt: 9, clamp: 10}, 10, 3, 0, 10, 2},
		{"tcp_cong_avoid_ai", sock{cwnd: 10, cnt: 9, clamp: 10}, 0, 3, 0, 10, 9},
		{"tcp_reno_cong_avoid", sock{cwnd: 10, ssthresh: 5, clamp: 200, limited: 1}, 77, 11, 0, 11, 1},
		{"tcp_reno_cong_avoid", sock{cwnd: 10, ssthresh: 5, clamp: 200, out: 100}, 77, 11, 0, 10, 0},
		{"tcp_reno_cong_avoid", sock{cwnd: 10, ssthresh: 12, clamp: 200, out: 6}, 77, 15, 0, 13, 1},
		{"tcp_reno_cong_avoid", sock{cwnd: 10, ssthresh: 12, clamp: 200, out: 5}, 77, 15, 0, 10, 0},
		{"tcp_reno_cong_avoid", sock{cwnd: 10, ssthresh: 30, clamp: 200, limited: 1}, 77, 15, 0, 25, 0},
	} {
		clear(b.Bytes())
		in := c.in
		for i, v := range fields(&in) {
			p, ok := kstruct.Find(typ, names[i])
			if !ok {
				t.Fatal(names[i])
			}
			p.Put(b.Bytes(), *v)
		}
		f := TypedKfuncs[c.name](spec)
		ret := f(e, b.Addr(), c.a, c.b, 0, 0)
		cwnd, _ := kstruct.Find(typ, "snd_cwnd")
		cnt, _ := kstruct.Find(typ, "snd_cwnd_cnt")
		if got := [3]uint64{ret, cwnd.Get(b.Bytes()), cnt.Get(b.Bytes())}; got != [3]uint64{c.ret, c.cwnd, c.cwcnt} {
			t.Errorf("%s(%d, %d) of %+v: %d, then a window of %d and %d acknowledged; want %d, %d and %d",
				c.name, c.a, c.b, c.in, got[0], got[1], got[2], c.ret, c.cwnd, c.cwcnt)
		}
		if f(e, 0x1000, 1, 1, 0, 0) != 0 {
			t.Errorf("%s of no memory", c.name)
		}
		if TypedKfuncs[c.name](tcpTypes(t, "prior_cwnd")) != nil || TypedKfuncs[c.name](nil) != nil {
			t.Errorf("%s was made of types that lack members", c.name)
		}
	}
}
