//go:build linux

package jit_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/testprog"
)

// Programs to measure, as clang would write them.
const (
	small = `
		r0 = 2
		r2 = *(u32 *)(r1 + 4)
		r1 = *(u32 *)(r1 + 0)
		r3 = r1
		r3 += 34
		if r3 > r2 goto out
		r2 = *(u16 *)(r1 + 12)
		if r2 != 8 goto out
		r1 = *(u8 *)(r1 + 23)
		if r1 != 6 goto out
		r0 = 1
	out:
		exit`
	fnv = `
		r2 = *(u32 *)(r1 + 4)
		r1 = *(u32 *)(r1 + 0)
		r0 = 0xcbf29ce484222325 ll
		r3 = 0x100000001b3 ll
		r4 = 1514
	loop:
		r5 = r1
		r5 += 1
		if r5 > r2 goto out
		r6 = *(u8 *)(r1 + 0)
		r0 ^= r6
		r0 *= r3
		r1 = r5
		r4 += -1
		if r4 != 0 goto loop
	out:
		exit`
)

func packet() []byte {
	p := make([]byte, 1514)
	p[12], p[23] = 8, 6
	return p
}

func BenchmarkSmall(b *testing.B) { benchText(b, small) }
func BenchmarkFNV(b *testing.B)   { benchText(b, fnv) }

func benchText(b *testing.B, text string) {
	img := testprog.Image(b, nil, testprog.Prog{Name: "bench", Type: catalog.ProgXDP, Text: text})
	bench(b, packet(), func(m *skep.Machine) *skep.Program {
		coll, err := m.LoadCollection(img)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(coll.Close)
		return coll.Programs["bench"]
	})
	b.Run("kernel", func(b *testing.B) {
		if err := linux.Available(); err != nil {
			b.Skip(err)
		}
		p, err := linux.Load(&linux.Prog{Name: "bench", Type: catalog.ProgXDP, License: "GPL", Insns: img.Programs[0].Insns})
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		out, err := p.TestRun(&linux.Run{Data: packet(), Repeat: uint32(b.N)})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(out.Duration), "ns/op")
	})
}

// BenchmarkFirewall runs the example on the packets of its capture.
func BenchmarkFirewall(b *testing.B) {
	r, err := capture.Open("../../examples/captures/web.pcap")
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	pkt, err := r.Next()
	if err != nil {
		b.Fatal(err)
	}
	bench(b, pkt.Data, func(m *skep.Machine) *skep.Program {
		coll, err := m.LoadCollectionFile("../../examples/firewall/firewall.o")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(coll.Close)
		return coll.Programs["firewall"]
	})
}

// bench runs a program on both of skep's engines.
func bench(b *testing.B, pkt []byte, load func(m *skep.Machine) *skep.Program) {
	for name, mode := range map[string]skep.JIT{"native": skep.JITOn, "interpreter": skep.JITOff} {
		b.Run(name, func(b *testing.B) {
			m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, JIT: mode})
			if err != nil {
				b.Skip(err)
			}
			defer m.Close()
			p := load(m)
			c := m.AcquireCPU()
			defer c.Release()
			if err := c.Packet().SetXDP(pkt, skep.XDPOptions{}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			start := busy()
			for b.Loop() {
				if _, err := c.Run(p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(busy()-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// busy is the processor time the process has taken, in nanoseconds. The kernel
// counts its test runs' own time, too, however many others want the machine.
func busy() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
