package skep_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// bulkText does what the packet's first byte says: 0, drop by a byte further on;
// 1, redirect; 2, drop its first 4 bytes; 3, call another program by tail; else count.
const bulkText = `
	r6 = r1
	r2 = *(u32 *)(r1 + 4)
	r1 = *(u32 *)(r1 + 0)
	r3 = r1
	r3 += 20
	if r3 > r2 goto drop
	r7 = *(u8 *)(r1 + 19)
	r1 = *(u8 *)(r1 + 0)
	if r1 == 0 goto byte
	if r1 == 1 goto redirect
	if r1 == 2 goto head
	if r1 == 3 goto tail
	*(u32 *)(r10 - 4) = 0
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -4
	call bpf_map_lookup_elem
	if r0 == 0 goto drop
	r1 = 1
	lock *(u64 *)(r0 + 0) += r1
	r0 = 2
	exit
byte:
	r0 = 2
	r7 &= 1
	if r7 != 0 goto out
drop:
	r0 = 1
out:
	exit
redirect:
	r1 = r7
	r2 = 0
	call bpf_redirect
	exit
head:
	r1 = r6
	r2 = 4
	call bpf_xdp_adjust_head
	r0 += 2
	exit
tail:
	r1 = r6
	r2 = map_idx[1] ll
	r3 = 0
	call bpf_tail_call
	r0 = 0
	exit`

// A batch does what runs on one packet after the other do, on every engine.
func TestRunBatch(t *testing.T) {
	for name, o := range map[string]skep.MachineOptions{
		"interpreter": {CPUs: 1, JIT: skep.JITOff}, "native": {CPUs: 1},
		"checked": {CPUs: 1, Checked: true},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := skep.NewMachine(&o)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			coll := load(t, m, testprog.Image(t, []*image.Map{
				{Name: "count", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1},
				{Name: "jumps", Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 1},
			}, testprog.Prog{Name: "bulk", Type: catalog.ProgXDP, Text: bulkText},
				testprog.Prog{Name: "other", Type: catalog.ProgXDP, Text: "r0 = *(u32 *)(r1 + 12)\nr0 += 3\nexit"}))
			p := coll.Programs["bulk"]
			if err := coll.Maps["jumps"].Put(uint32(0), coll.Programs["other"]); err != nil {
				t.Fatal(err)
			}
			c := m.AcquireCPU()
			defer c.Release()
			const n = 100
			packets := make([][]byte, n)
			for i := range packets {
				packets[i] = bytes.Repeat([]byte{byte(i)}, 20+i)
				packets[i][0] = byte(i % 5)
				if i%17 == 0 {
					packets[i] = packets[i][:14]
				}
			}
			b, err := m.NewBatch(n + 1)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			for i, data := range packets {
				room, err := b.Packet(i).XDPBuffer(len(data))
				if err != nil {
					t.Fatal(err)
				}
				copy(room, data)
				if err := b.Packet(i).SetXDP(room, skep.XDPOptions{}); err != nil {
					t.Fatal(err)
				}
				if i%7 == 0 { // like one that lies elsewhere
					if err := b.Packet(i).SetXDP(data, skep.XDPOptions{}); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := p.RunCount()
			if err := c.RunBatch(p, b, n); err != nil {
				t.Fatal(err)
			}
			if got := p.RunCount() - before; got != n {
				t.Errorf("counted %d runs of %d", got, n)
			}
			var counted uint64
			if err := coll.Maps["count"].Lookup(uint32(0), &counted); err != nil {
				t.Fatal(err)
			}
			seen := map[uint32]int{}
			for i, data := range packets {
				if err := c.Packet().SetXDP(data, skep.XDPOptions{}); err != nil {
					t.Fatal(err)
				}
				r0, err := c.Run(p)
				if err != nil {
					t.Fatal(err)
				}
				seen[r0]++
				if got := b.Verdict(i); got != r0 {
					t.Errorf("packet %d: %d, alone %d", i, got, r0)
				}
				if got, want := fmt.Sprint(b.Redirect(i)), fmt.Sprint(c.Redirect()); got != want {
					t.Errorf("packet %d goes to %v, alone to %v", i, got, want)
				}
				if got := b.Packet(i).Bytes(); !bytes.Equal(got, c.Packet().Bytes()) {
					t.Errorf("packet %d: % x, alone % x", i, got, c.Packet().Bytes())
				}
			}
			if seen[1] == 0 || seen[2] == 0 || seen[4] == 0 || counted == 0 {
				t.Errorf("verdicts %v, counted %d: not all was tried", seen, counted)
			}
			// What one batch redirected is not redirected in the next.
			if err := b.Packet(1).SetXDP(make([]byte, 60), skep.XDPOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := c.RunBatch(p, b, 2); err != nil || b.Redirect(1).Kind != skep.RedirectNone {
				t.Errorf("%v %v", b.Redirect(1), err)
			}
			if n := testing.AllocsPerRun(10, func() { _ = c.RunBatch(p, b, n) }); n != 0 && !o.Checked {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestRunBatchRefuses(t *testing.T) {
	m := machine(t, engine)
	coll := load(t, m, testprog.Image(t, nil, testprog.Prog{Name: "pass", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"}))
	p := coll.Programs["pass"]
	for _, n := range []int{-1, 0, skep.MaxBatch + 1} {
		if _, err := m.NewBatch(n); err == nil {
			t.Errorf("a batch of %d", n)
		}
	}
	b, err := m.NewBatch(2)
	if err != nil {
		t.Fatal(err)
	}
	c := m.AcquireCPU()
	defer c.Release()
	if err := c.RunBatch(p, b, 3); err == nil {
		t.Error("more packets than there are")
	}
	if err := c.RunBatch(p, b, 0); err != nil {
		t.Error(err)
	}
	b.Close()
	b.Close()
	if err := c.RunBatch(p, b, 1); err == nil {
		t.Error("a closed batch runs")
	}
	other := machine(t, engine)
	if b, err = other.NewBatch(1); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := c.RunBatch(p, b, 1); err == nil {
		t.Error("a batch of another machine")
	}
}

// Socket buffers have their contexts in a batch, too, and sockets as test runs have.
func TestRunBatchSKB(t *testing.T) {
	m := machine(t, engine)
	coll := load(t, m, testprog.Image(t, nil, testprog.Prog{Name: "mark", Type: catalog.ProgSchedCls, Text: `
		r0 = *(u32 *)(r1 + 8)    # mark
		r2 = *(u32 *)(r1 + 0)    # len
		*(u32 *)(r1 + 8) = r2
		r2 = *(u64 *)(r1 + 168)  # sk
		if r2 == 0 goto out
		r3 = *(u32 *)(r2 + 4)    # family
		r0 += r3
	out:
		exit`}))
	c := m.AcquireCPU()
	defer c.Release()
	const n = 5
	b, err := m.NewBatch(n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range n {
		room, err := b.Packet(i).SKBBuffer(60 + i)
		if err != nil {
			t.Fatal(err)
		}
		clear(room)
		if err := b.Packet(i).SetSKB(room, skep.SKBOptions{Mark: uint32(100 + i), L2: true, OwnSock: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RunBatch(coll.Programs["mark"], b, n); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if b.Verdict(i) != uint32(100+i) || b.Packet(i).Mark != uint32(60+i) {
			t.Errorf("packet %d: %d, then mark %d", i, b.Verdict(i), b.Packet(i).Mark)
		}
	}
}
