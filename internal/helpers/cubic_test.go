package helpers

import (
	"math"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/mem"
)

// cubicTypes has the structures that CUBIC works on, not in the kernel's order.
func cubicTypes(t *testing.T, without string) *btf.Spec {
	t.Helper()
	u32, u64 := &btf.Int{Name: "unsigned int", Size: 4}, &btf.Int{Name: "unsigned long", Size: 8}
	add := func(s *btf.Struct, typ btf.Type, size uint32, names ...string) *btf.Struct {
		for _, name := range names {
			if name != without {
				s.Members = append(s.Members, btf.Member{Name: name, Type: typ, Offset: btf.Bits(s.Size * 8)})
			}
			s.Size += size
		}
		return s
	}
	ca := add(&btf.Struct{Name: "bictcp"}, u32, 4, "cnt", "last_max_cwnd", "last_cwnd", "last_time", "bic_origin_point", "bic_K", "delay_min", "epoch_start",
		"ack_cnt", "tcp_cwnd", "unused", "sample_cnt", "found", "round_start", "end_seq", "last_ack", "curr_rtt")
	sock := add(add(&btf.Struct{Name: "sock"}, u64, 8, "sk_pacing_rate"), u32, 4, "sk_pacing_status", "sk_gso_max_size")
	inet := add(&btf.Struct{Name: "inet_sock"}, sock, sock.Size, "sk")
	priv := &btf.Array{Type: u64, Index: u32, Nelems: 13}
	icsk := add(add(&btf.Struct{Name: "inet_connection_sock"}, inet, inet.Size, "icsk_inet"), priv, 104, "icsk_ca_priv")
	tcp := add(add(&btf.Struct{Name: "tcp_sock"}, icsk, icsk.Size, "inet_conn"), u64, 8, "tcp_mstamp")
	add(tcp, u32, 4, "snd_ssthresh", "snd_cwnd", "prior_cwnd", "snd_cwnd_cnt", "snd_cwnd_clamp", "max_packets_out", "is_cwnd_limited", "lsndtime", "snd_una", "snd_nxt")
	sample := add(&btf.Struct{Name: "ack_sample"}, u32, 4, "pkts_acked")
	add(sample, &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, 4, "rtt_us")
	b, err := btf.NewBuilder([]btf.Type{tcp, ca, sample}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// What each function of CUBIC makes of a connection. That this is what the kernel's make of one is asked in the hooks' tests.
func TestCubic(t *testing.T) {
	spec := cubicTypes(t, "")
	var tcp, ca *btf.Struct
	if spec.TypeByName("tcp_sock", &tcp) != nil || spec.TypeByName("bictcp", &ca) != nil {
		t.Fatal("no types")
	}
	sk, sample := newScratch(t, int(tcp.Size)), newScratch(t, 8)
	h := newTestHost(t)
	e := &Env{Host: h, Readable: func(addr, n uint64) bool { return n <= mem.Extent(addr) }}
	now := uint64(uint32(h.Jiffies()))
	private, _ := kstruct.Find(tcp, "inet_conn.icsk_ca_priv")
	// place finds a member of the connection, or with a colon in front of its state.
	place := func(path string) (kstruct.Place, []byte) {
		if path[0] == ':' {
			p, _ := kstruct.Find(ca, path[1:])
			return p, sk.Bytes()[private.Off/8:]
		}
		p, _ := kstruct.Find(tcp, path)
		return p, sk.Bytes()
	}
	type members map[string]uint64
	const unknown = math.MaxUint32
	for _, c := range []struct {
		what, name string
		in         members
		a, b, ret  uint64
		rtt        int32
		out        members
	}{
		{"it begins", "cubictcp_init", members{":last_max_cwnd": 9, ":found": 1, "tcp_mstamp": 70, "snd_nxt": 5}, 0, 0, 0, 0,
			members{":last_max_cwnd": 0, ":found": 0, ":round_start": 70, ":last_ack": 70, ":end_seq": 5, ":curr_rtt": unknown}},
		{"a timeout", "cubictcp_state", members{":last_max_cwnd": 9, "snd_nxt": 5}, caLoss, 0, 0, 0, members{":last_max_cwnd": 0, ":end_seq": 5}},
		{"a loss", "cubictcp_state", members{":last_max_cwnd": 9, "snd_nxt": 5}, 3, 0, 0, 0, members{":last_max_cwnd": 9, ":end_seq": 0}},
		{"seven tenths are left", "cubictcp_recalc_ssthresh", members{"snd_cwnd": 100, ":epoch_start": 3}, 0, 0, 70, 0, members{":last_max_cwnd": 100, ":epoch_start": 0}},
		{"lower than before", "cubictcp_recalc_ssthresh", members{"snd_cwnd": 100, ":last_max_cwnd": 120}, 0, 0, 70, 0, members{":last_max_cwnd": 85}},
		{"two at least", "cubictcp_recalc_ssthresh", members{"snd_cwnd": 2}, 0, 0, 2, 0, members{":last_max_cwnd": 2}},
		{"idle time", "cubictcp_cwnd_event", members{":epoch_start": now - 100, "lsndtime": now - 40}, caEventTxStart, 0, 0, 0, members{":epoch_start": now - 60}},
		{"idle since before", "cubictcp_cwnd_event", members{":epoch_start": now - 100, "lsndtime": now - 400}, caEventTxStart, 0, 0, 0, members{":epoch_start": now}},
		{"another event", "cubictcp_cwnd_event", members{":epoch_start": now - 100, "lsndtime": now - 40}, 3, 0, 0, 0, members{":epoch_start": now - 100}},
		{"slow start", "cubictcp_cong_avoid", members{"snd_cwnd": 10, "snd_ssthresh": 90, "snd_cwnd_clamp": 900, "is_cwnd_limited": 1}, 0, 4, 0, 0, members{"snd_cwnd": 14, ":ack_cnt": 0}},
		{"not limited", "cubictcp_cong_avoid", members{"snd_cwnd": 10, "snd_ssthresh": 5, "snd_cwnd_clamp": 900}, 0, 4, 0, 0, members{"snd_cwnd": 10, ":ack_cnt": 0}},
		{"nothing is known", "cubictcp_cong_avoid", members{"snd_cwnd": 100, "snd_ssthresh": 5, "snd_cwnd_clamp": 900, "is_cwnd_limited": 1}, 0, 4, 0, 0,
			members{":cnt": 20, ":epoch_start": now, ":ack_cnt": 4, ":tcp_cwnd": 100, "snd_cwnd_cnt": 4, ":bic_K": 0, ":bic_origin_point": 100}},
		// K is the cube root of 50 packets over 0.4 packets a second cubed: 5 s. A packet more comes of rounding.
		{"below what it was", "cubictcp_cong_avoid", members{"snd_cwnd": 50, "snd_ssthresh": 5, "snd_cwnd_clamp": 900, "is_cwnd_limited": 1, ":last_max_cwnd": 100}, 0, 4, 0, 0,
			members{":bic_K": 5118, ":bic_origin_point": 100, ":cnt": 50}},
		// 10 s after the beginning the window is as far above as it was below.
		{"above what it was", "cubictcp_cong_avoid", members{"snd_cwnd": 50, "snd_ssthresh": 5, "snd_cwnd_clamp": 900, "is_cwnd_limited": 1, ":last_max_cwnd": 100,
			":bic_K": 5117, ":bic_origin_point": 100, ":epoch_start": now - 2500}, 0, 1, 0, 0, members{":cnt": 2, ":last_time": now, ":last_cwnd": 50}},
		{"no faster than every second packet", "cubictcp_cong_avoid", members{"snd_cwnd": 50, "snd_ssthresh": 5, "snd_cwnd_clamp": 900, "is_cwnd_limited": 1,
			":last_cwnd": 50, ":last_time": now, ":cnt": 1, ":ack_cnt": 7}, 0, 1, 0, 0, members{":cnt": 1, ":ack_cnt": 8}},
		{"no slower than Reno", "cubictcp_cong_avoid", members{"snd_cwnd": 50, "snd_ssthresh": 5, "snd_cwnd_clamp": 900, "is_cwnd_limited": 1, ":last_cwnd": 49,
			":last_time": now, ":epoch_start": now, ":cnt": 90, ":ack_cnt": 93 * 5, ":tcp_cwnd": 50}, 0, 1, 0, 0, members{":cnt": 10, ":ack_cnt": 1, ":tcp_cwnd": 55}},
		{"the least delay", "cubictcp_acked", members{":delay_min": 900}, 0, 0, 0, 700, members{":delay_min": 700}},
		{"a longer one", "cubictcp_acked", members{":delay_min": 600}, 0, 0, 0, 700, members{":delay_min": 600}},
		{"none is known", "cubictcp_acked", members{":delay_min": 600}, 0, 0, 0, -1, members{":delay_min": 600}},
		{"right after a loss", "cubictcp_acked", members{":delay_min": 900, ":epoch_start": now - 5}, 0, 0, 0, 700, members{":delay_min": 900}},
		{"a long train", "cubictcp_acked", members{":delay_min": 1000, "snd_cwnd": 20, "snd_ssthresh": 99, ":round_start": 10_000, ":last_ack": 11_000, "tcp_mstamp": 11_000}, 0, 0, 0, 1000,
			members{":found": 1, "snd_ssthresh": 20}},
		{"a long train, paced", "cubictcp_acked", members{":delay_min": 1000, "snd_cwnd": 20, "snd_ssthresh": 99, ":round_start": 10_000, ":last_ack": 11_000, "tcp_mstamp": 11_000,
			"inet_conn.icsk_inet.sk.sk_pacing_status": 1}, 0, 0, 0, 1000, members{":found": 0, "snd_ssthresh": 99}},
		{"delays grow", "cubictcp_acked", members{":delay_min": 1000, "snd_cwnd": 20, "snd_ssthresh": 99, ":curr_rtt": 6000, ":sample_cnt": 8, "tcp_mstamp": 11_000}, 0, 0, 0, 6000,
			members{":found": 1, "snd_ssthresh": 20}},
		{"a window of few packets", "cubictcp_acked", members{":delay_min": 1000, "snd_cwnd": 10, "snd_ssthresh": 99, ":curr_rtt": 6000, ":sample_cnt": 8}, 0, 0, 0, 6000,
			members{":found": 0, "snd_ssthresh": 99}},
		{"a round ends", "cubictcp_acked", members{":delay_min": 1000, "snd_cwnd": 10, "snd_ssthresh": 99, ":end_seq": 5, "snd_una": 6, "snd_nxt": 9, "tcp_mstamp": 70}, 0, 0, 0, 6000,
			members{":round_start": 70, ":end_seq": 9}},
	} {
		clear(sk.Bytes())
		for path, v := range c.in {
			p, b := place(path)
			p.Put(b, v)
		}
		a := c.a
		if c.rtt != 0 {
			mem.Store32(sample.Addr()+4, uint32(c.rtt))
			a = sample.Addr()
		}
		f := TypedKfuncs[c.name](spec)
		if got := f(e, sk.Addr(), a, c.b, 0, 0); got != c.ret {
			t.Errorf("%s: %s returns %d, want %d", c.what, c.name, got, c.ret)
		}
		for path, want := range c.out {
			if p, b := place(path); p.Get(b) != want {
				t.Errorf("%s: %s left %s %d, want %d", c.what, c.name, path, p.Get(b), want)
			}
		}
		if f(e, 0x1000, 1, 1, 0, 0) != 0 || c.rtt != 0 && f(e, sk.Addr(), 0x1000, 1, 0, 0) != 0 {
			t.Errorf("%s of no memory", c.name)
		}
		for _, without := range []string{"curr_rtt", "sk_pacing_rate", "prior_cwnd", "rtt_us", "icsk_ca_priv"} {
			if TypedKfuncs[c.name](cubicTypes(t, without)) != nil {
				t.Errorf("%s was made of types without %s", c.name, without)
			}
		}
	}
	if TypedKfuncs["cubictcp_init"](nil) != nil {
		t.Error("a function was made without types")
	}
}
