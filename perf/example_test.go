package perf_test

import (
	"encoding/binary"
	"fmt"
	"log"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/isa"
	"github.com/skep-bpf/skep/perf"
)

// A program samples the first bytes of a packet.
func Example() {
	insns, err := isa.Assemble("sample.s", `
		*(u64 *)(r10 - 8) = 42
		r2 = map_idx[0] ll
		r3 = 0x4ffffffff ll       ; BPF_F_CURRENT_CPU, and 4 bytes of the packet
		r4 = r10
		r4 += -8
		r5 = 8
		call 25                   ; bpf_perf_event_output
		r0 = 2                    ; XDP_PASS
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
		License: "GPL", ByteOrder: binary.NativeEndian,
		Maps:     []*image.Map{{Name: "samples", Type: skep.PerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: uint32(m.CPUs())}},
		Programs: []*image.Program{{Name: "sample", Type: skep.XDP, Insns: insns}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	samples, err := perf.NewReader(coll.Maps["samples"], 4096) // bytes for each CPU
	if err != nil {
		log.Fatal(err)
	}
	defer samples.Close()
	if _, _, err := coll.Programs["sample"].Test([]byte("packet of fourteen bytes")); err != nil {
		log.Fatal(err)
	}
	samples.SetDeadline(time.Now()) // take what is there, do not wait
	rec, err := samples.Read()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(binary.NativeEndian.Uint64(rec.RawSample), string(rec.RawSample[8:12]))
	// Output: 42 pack
}
