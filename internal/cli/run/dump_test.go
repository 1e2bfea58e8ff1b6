package run

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

var u32 = &btf.Int{Name: "unsigned int", Size: 4}

// pusher is an image whose program pushes the packet's length and then 7 into
// a queue and a stack, and counts in a per-CPU hash.
func pusher() *image.Image {
	store := func(v isa.Instruction) isa.Instructions {
		return isa.Instructions{v, isa.StoreMem(isa.W, isa.RFP, isa.R1, -4)}
	}
	call := func(m int32, helper catalog.HelperID, flags int32) isa.Instructions {
		return append(isa.LdMapIdx(isa.R1, m),
			isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
			isa.Mov64Imm(isa.R3, flags), isa.HelperCall(int32(helper)))
	}
	return &image.Image{
		Name: "pusher", License: "GPL", ByteOrder: binary.NativeEndian,
		Maps: []*image.Map{
			{Name: "queue", KernelName: "queue", Type: catalog.MapQueue, ValueSize: 4, MaxEntries: 4, Value: u32},
			{Name: "stack", KernelName: "stack", Type: catalog.MapStack, ValueSize: 4, MaxEntries: 4, Value: u32},
			{Name: "hash", KernelName: "hash", Type: catalog.MapPerCPUHash, KeySize: 4, ValueSize: 4, MaxEntries: 4, Key: u32, Value: u32},
		},
		Programs: []*image.Program{{
			Name: "push", Section: "socket", Type: catalog.ProgSocketFilter,
			Insns: isa.Program(
				isa.LoadMem(isa.W, isa.R6, isa.R1, 0), // skb->len
				store(isa.Mov64Reg(isa.R1, isa.R6)),
				call(0, catalog.FnMapPushElem, 0), call(1, catalog.FnMapPushElem, 0),
				store(isa.Mov64Imm(isa.R1, 7)),
				call(0, catalog.FnMapPushElem, 0), call(1, catalog.FnMapPushElem, 0),
				isa.LdMapIdx(isa.R1, 2),
				isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
				isa.Mov64Reg(isa.R3, isa.R2), isa.Mov64Imm(isa.R4, 0), isa.HelperCall(int32(catalog.FnMapUpdateElem)),
				isa.Mov64Imm(isa.R0, 0), isa.ExitInsn(),
			),
		}},
	}
}

// TestDump compares what is shown of maps that are not read key by key.
func TestDump(t *testing.T) {
	const want = `
queue (queue, 2 of 4 entries)
  50
  7

stack (stack, 2 of 4 entries)
  7
  50

hash (percpu_hash, 1 of 4 entries)
  [7] = 7 on CPU 0
`
	for _, name := range []string{engine.Skep, engine.Linux} {
		t.Run(name, func(t *testing.T) {
			if name == engine.Linux {
				oracle.Need(t, "bpf(2)", linux.Available())
			}
			open := engine.ByName(name)
			img := pusher()
			coll, err := open(img, &engine.Options{CPUs: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer coll.Close()
			p, err := coll.Load(img.Programs[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Run(make([]byte, 64), time.Time{}); err != nil {
				t.Fatal(err)
			}
			dumps, err := dump(coll, img, &totals{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			s := ui.New(nil, &got, &got)
			for i := range dumps {
				dumps[i].print(s, &got, img.ByteOrder)
			}
			if d := cmp.Diff(want, got.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

// keys is a map whose walk gives keys in the given order, each its own value.
type keys [][]byte

func (k keys) NextKey(key, next []byte) error {
	at := 0
	for i := range k {
		if string(k[i]) == string(key) {
			at = i + 1
		}
	}
	if at == len(k) {
		return errno.ENOENT
	}
	copy(next, k[at])
	return nil
}

func (k keys) Lookup(key []byte) ([]byte, error) { return key, nil }
func (k keys) Update(key, value []byte) error    { return errno.EPERM }
func (k keys) Pop() ([]byte, error)              { return nil, errno.ENOENT }
func (k keys) PerCPU() bool                      { return false }
func (k keys) CPUs() int                         { return 1 }

// TestReadKeepsTheFirst checks that what is shown does not hang on a hash's order.
func TestReadKeepsTheFirst(t *testing.T) {
	for _, c := range []struct {
		kind              catalog.MapType
		order             string
		limit             int
		want              string
		count, zero, more int
	}{
		{catalog.MapHash, "cabed", 0, "abcde", 5, 0, 0},
		{catalog.MapHash, "cabed", 3, "abc", 5, 0, 2},
		{catalog.MapHash, "edcba", 1, "a", 5, 0, 4},
		{catalog.MapHash, "", 3, "", 0, 0, 0},
		{catalog.MapArray, "ab\x00c", 2, "ab", 4, 1, 1},
	} {
		d := mapDump{Map: &image.Map{Type: c.kind, KeySize: 1, ValueSize: 1}}
		walk := keys{}
		for i := range len(c.order) {
			walk = append(walk, []byte{c.order[i]})
		}
		if err := d.read(walk, c.limit); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range d.entries {
			got += string(e.key)
		}
		if got != c.want || d.count != c.count || d.zero != c.zero || d.hidden() != c.more {
			t.Errorf("%v of %q: %q, %d entries, %d zero, %d hidden; want %q, %d, %d, %d",
				c.kind, c.order, got, d.count, d.zero, d.hidden(), c.want, c.count, c.zero, c.more)
		}
	}
}
