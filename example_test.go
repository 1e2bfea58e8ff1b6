package skep_test

import (
	"encoding/binary"
	"fmt"
	"log"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/isa"
)

// A program needs no object file: here it is assembly text and a map made by hand.
func ExampleMachine_LoadCollection() {
	insns, err := isa.Assemble("count.s", `
		r6 = *(u32 *)(r1 + 4)        ; data_end
		r7 = *(u32 *)(r1 + 0)        ; data
		r6 -= r7
		*(u32 *)(r10 - 4) = 0
		r2 = r10
		r2 += -4
		r1 = map_idx[0] ll
		call 1                       ; bpf_map_lookup_elem
		if r0 == 0 goto out
		lock *(u64 *)(r0 + 0) += r6  ; bytes seen
	out:	r0 = 2                       ; XDP_PASS
		exit`, isa.Symbols{})
	if err != nil {
		log.Fatal(err)
	}
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(&image.Image{
		Name: "count", License: "GPL", ByteOrder: binary.NativeEndian,
		Maps:     []*image.Map{{Name: "seen", Type: skep.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}},
		Programs: []*image.Program{{Name: "count", Type: skep.XDP, Insns: insns}},
	})
	if err != nil {
		log.Fatalf("%+v", err) // with the verifier's log
	}
	defer coll.Close()
	for _, size := range []int{64, 1500} {
		if _, _, err := coll.Programs["count"].Test(make([]byte, size)); err != nil {
			log.Fatal(err)
		}
	}
	var seen uint64
	if err := coll.Maps["seen"].Lookup(uint32(0), &seen); err != nil {
		log.Fatal(err)
	}
	fmt.Println(seen, "bytes")
	// Output: 1564 bytes
}

// A batch pays the way into a program once for many packets.
func ExampleCPU_RunBatch() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("examples/firewall/firewall.o")
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	b, err := m.NewBatch(64)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	for i := range b.Len() {
		if err := b.Packet(i).SetXDP(make([]byte, 60+i), skep.XDPOptions{}); err != nil {
			log.Fatal(err)
		}
	}
	cpu := m.AcquireCPU()
	defer cpu.Release()
	if err := cpu.RunBatch(coll.Programs["firewall"], b, b.Len()); err != nil {
		log.Fatal(err) // b.Done() packets were run on before
	}
	passed := 0
	for i := range b.Len() {
		if b.Verdict(i) == 2 { // XDP_PASS
			passed++
		}
	}
	fmt.Println(passed, "of", b.Len(), "pass")
	// Output: 64 of 64 pass
}

// With a clock of one's own a run repeats itself.
func ExampleNewManualClock() {
	clock := skep.NewManualClock(0, time.Unix(0, 0))
	m, err := skep.NewMachine(&skep.MachineOptions{Clock: clock})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	insns, err := isa.Assemble("now.s", "call 5\nexit", isa.Symbols{}) // bpf_ktime_get_ns
	if err != nil {
		log.Fatal(err)
	}
	coll, err := m.LoadCollection(&image.Image{
		License: "GPL", ByteOrder: binary.NativeEndian,
		Programs: []*image.Program{{Name: "now", Type: skep.SocketFilter, Insns: insns}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	for range 2 {
		clock.Advance(1000)
		now, _, err := coll.Programs["now"].Test(make([]byte, 14))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(now, "ns")
	}
	// Output:
	// 1000 ns
	// 2000 ns
}
