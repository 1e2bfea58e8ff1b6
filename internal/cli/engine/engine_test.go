package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// A perf event array with more entries than there are CPUs is a map like any
// other, on both engines.
func TestPerfEventArrayLargerThanCPUs(t *testing.T) {
	for _, name := range []string{Skep, Linux} {
		t.Run(name, func(t *testing.T) {
			if name == Linux {
				oracle.Need(t, "bpf(2)", linux.Available())
			}
			img := testprog.Image(t, []*image.Map{
				{Name: "events", Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 512},
			}, testprog.Prog{Name: "pass", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"})
			coll, err := ByName(name)(img, &Options{CPUs: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer coll.Close()
			v, err := coll.Verify(img.Programs[0], 0)
			if err != nil || v.Refused != nil {
				t.Errorf("Verify: %+v, %v", v, err)
			}
		})
	}
}

// A netfilter program runs on IP packets, from their network header on, on both engines.
func TestNetfilter(t *testing.T) {
	types, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's types", err)
	skb := kstruct.New(types, "sk_buff", make([]byte, 4096), 0)
	odd := fmt.Sprintf("r1 = *(u64 *)(r1 + 8)\nr0 = *(u32 *)(r1 + %d)\nr0 &= 1\nexit", cap(skb.Bytes)-cap(skb.Field("len")))
	for _, name := range []string{Skep, Linux} {
		t.Run(name, func(t *testing.T) {
			if name == Linux {
				oracle.Need(t, "bpf(2)", linux.Available())
			}
			img := testprog.Image(t, nil, testprog.Prog{Name: "odd", Type: catalog.ProgNetfilter, Attach: catalog.AttachNetfilter, Text: odd})
			coll, err := ByName(name)(img, &Options{CPUs: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer coll.Close()
			p, err := coll.Load(img.Programs[0])
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				proto uint16
				size  int
				want  uint32
				run   bool
			}{{0x800, 34, 0, true}, {0x800, 35, 1, true}, {0x86dd, 55, 1, true}, {0x86dd, 60, 0, true}, {0x800, 33, 0, false}, {0x86dd, 53, 0, false}, {0x806, 60, 0, false}, {0, 10, 0, false}} {
				frame := make([]byte, c.size)
				if c.size >= 14 {
					binary.BigEndian.PutUint16(frame[12:], c.proto)
				}
				r, err := p.Run(frame, time.Time{})
				if errors.Is(err, ErrNotRun) == c.run || c.run && err != nil || r.Ret != c.want {
					t.Errorf("%d bytes of %#04x: %d, %v", c.size, c.proto, r.Ret, err)
				}
			}
		})
	}
}
