package helpers

import (
	"slices"
	"testing"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

func TestIterNum(t *testing.T) {
	b := newScratch(t, 8)
	it := b.Addr()
	count := func(from, to int32) (rc uint64, seen []int32) {
		rc = KfuncTable["bpf_iter_num_new"](nil, it, uint64(uint32(from)), uint64(uint32(to)), 0, 0)
		for len(seen) < 10 {
			at := KfuncTable["bpf_iter_num_next"](nil, it, 0, 0, 0, 0)
			if at == 0 {
				break
			}
			seen = append(seen, int32(mem.Load32(at)))
		}
		KfuncTable["bpf_iter_num_destroy"](nil, it, 0, 0, 0, 0)
		return rc, seen
	}
	const least, most = -1 << 31, 1<<31 - 1
	for _, c := range []struct {
		from, to int32
		rc       uint64
		want     []int32
	}{
		{0, 3, 0, []int32{0, 1, 2}}, {-1, 1, 0, []int32{-1, 0}}, {5, 5, 0, nil}, {5, 4, int32Of(errno.EINVAL), nil},
		{0, maxLoops + 1, int32Of(errno.E2BIG), nil}, {least, most, int32Of(errno.E2BIG), nil},
		{least, least + 2, 0, []int32{least, least + 1}}, {most - 1, most, 0, []int32{most - 1}}, {most, most, 0, nil},
	} {
		if rc, seen := count(c.from, c.to); rc != c.rc || !slices.Equal(seen, c.want) {
			t.Errorf("[%d, %d): %d, %v; want %d, %v", c.from, c.to, rc, seen, c.rc, c.want)
		}
	}
}

func TestIterBits(t *testing.T) {
	e, _ := env(t)
	b, words := newScratch(t, 16), newScratch(t, 4096)
	e.Readable = func(addr, n uint64) bool { return addr >= words.Addr() && addr+n <= words.Addr()+4096 }
	it := b.Addr()
	for _, c := range []struct {
		words []uint64
		n     uint64
		rc    uint64
		want  []uint32
	}{
		{[]uint64{0b1011}, 1, 0, []uint32{0, 1, 3}}, {[]uint64{1 << 63}, 1, 0, []uint32{63}}, {[]uint64{0}, 1, 0, nil},
		{[]uint64{1, 0, 1<<63 | 2}, 3, 0, []uint32{0, 129, 191}}, {nil, 0, int32Of(errno.EINVAL), nil}, {nil, 512, int32Of(errno.E2BIG), nil},
		{nil, 511, 0, nil}, {[]uint64{0xf0, 0xf}, 1, 0, []uint32{4, 5, 6, 7}},
	} {
		clear(words.Bytes())
		for i, w := range c.words {
			mem.Store64(words.Addr()+uint64(8*i), w)
		}
		rc := KfuncTable["bpf_iter_bits_new"](e, it, words.Addr(), c.n, 0, 0)
		var seen []uint32
		for range 10 {
			if at := KfuncTable["bpf_iter_bits_next"](e, it, 0, 0, 0, 0); at != 0 {
				seen = append(seen, mem.Load32(at))
			}
		}
		KfuncTable["bpf_iter_bits_destroy"](e, it, 0, 0, 0, 0)
		if rc != c.rc || !slices.Equal(seen, c.want) {
			t.Errorf("%x of %d: %d, %v; want %d, %v", c.words, c.n, rc, seen, c.rc, c.want)
		}
	}
	want(t, "bits of NULL", KfuncTable["bpf_iter_bits_new"](e, it, 0, 1, 0, 0), int32Of(errno.EINVAL))
	want(t, "bits of what is not there", KfuncTable["bpf_iter_bits_new"](e, it, 8, 1, 0, 0), int32Of(errno.EFAULT))
	if len(e.blocks) != 0 {
		t.Errorf("%d copies left", len(e.blocks))
	}
}

func TestResilientLock(t *testing.T) {
	e, _ := env(t)
	b := newScratch(t, 16)
	lock, unlock := KfuncTable["bpf_res_spin_lock"], KfuncTable["bpf_res_spin_unlock_irqrestore"]
	want(t, "lock", lock(e, b.Addr(), 0, 0, 0, 0), 0)
	want(t, "lock again", lock(e, b.Addr(), 0, 0, 0, 0), int32Of(errno.EDEADLK))
	e.CPU = 0
	want(t, "lock of another", KfuncTable["bpf_res_spin_lock_irqsave"](e, b.Addr(), b.Addr()+8, 0, 0, 0), int32Of(errno.ETIMEDOUT))
	unlock(e, b.Addr(), 0, 0, 0, 0)
	want(t, "lock then", lock(e, b.Addr(), 0, 0, 0, 0), 0)
	KfuncTable["bpf_res_spin_unlock"](e, b.Addr(), 0, 0, 0, 0)
	want(t, "word of a free lock", uint64(mem.Load32(b.Addr())), 0)
}

func TestMarkersAndCasts(t *testing.T) {
	b := newScratch(t, 8)
	mem.Store64(b.Addr(), 1)
	for _, name := range []string{"bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_preempt_disable", "bpf_preempt_enable", "bpf_local_irq_save", "bpf_local_irq_restore"} {
		want(t, name, KfuncTable[name](nil, b.Addr(), 0, 0, 0, 0), 0)
	}
	for _, name := range []string{"bpf_cast_to_kern_ctx", "bpf_rdonly_cast"} {
		want(t, name, KfuncTable[name](nil, 0x1234, 0, 0, 0, 0), 0x1234)
	}
	for _, name := range []string{"bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_vlan_tag"} {
		want(t, name, KfuncTable[name](nil, 0, 0, 0, 0, 0), int32Of(errno.EOPNOTSUPP))
	}
}
