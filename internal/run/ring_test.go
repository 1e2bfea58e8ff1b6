package run

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// ringWriter makes a program that reserves size bytes, writes the number at its context
// and its complement into the first 16, and submits or discards with flags. It returns 1 where there was no room.
func ringWriter(t *testing.T, m *Machine, ring *catalog.MapDef, size int32, end catalog.HelperID, flags int32) *Program {
	return programOn(t, m, ring,
		isa.LoadMem(isa.DW, isa.R6, isa.R1, 0),
		isa.LdImm64(isa.R1, ring.Ptr), isa.Mov64Imm(isa.R2, size), isa.Mov64Imm(isa.R3, 0),
		isa.HelperCall(int32(catalog.FnRingBufReserve)),
		isa.JmpImm(isa.Jne, isa.R0, 0, 2), isa.Mov64Imm(isa.R0, 1), isa.ExitInsn(),
		isa.StoreMem(isa.DW, isa.R0, isa.R6, 0), isa.ALU64Imm(isa.Xor, isa.R6, -1), isa.StoreMem(isa.DW, isa.R0, isa.R6, 8),
		isa.Mov64Reg(isa.R1, isa.R0), isa.Mov64Imm(isa.R2, flags), isa.HelperCall(int32(end)),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
}

// Records that an engine writes by itself are those the map's own code would
// write: until the ring is full, and when it has been emptied; the reader is woken alike.
func TestRingBufRecords(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the record is not the run's")
		}
		mp := newMap(t, m, catalog.MapDef{Type: catalog.MapRingBuf, MaxEntries: 4096})
		ring := maps.Unwrap(mp).(*maps.RingBuf)
		programs := []*Program{}
		for _, size := range []int32{16, 24, 101, 1000, 4088, 4089, 1 << 20} {
			for _, end := range []catalog.HelperID{catalog.FnRingBufSubmit, catalog.FnRingBufDiscard} {
				for flags := range int32(3) {
					programs = append(programs, ringWriter(t, m, mp.Def(), size, end, flags))
				}
			}
		}
		c := m.Acquire()
		defer c.Release()
		// What another ring is told by Go is what this one should do.
		other := maps.Unwrap(newMap(t, m, catalog.MapDef{Type: catalog.MapRingBuf, MaxEntries: 4096})).(*maps.RingBuf)
		woken := func(r *maps.RingBuf) bool {
			select {
			case <-r.Wake():
				return true
			default:
				return false
			}
		}
		for i := range 500 {
			k := i * 7 % len(programs)
			size, discard, flags := []uint64{16, 24, 101, 1000, 4088, 4089, 1 << 20}[k/6], k/3%2 == 1, uint64(k%3)
			binary.NativeEndian.PutUint64(c.scratch.Bytes(), uint64(i))
			r0, err := c.Run(programs[k], c.scratch.Addr(), nil)
			if err != nil {
				t.Fatal(err)
			}
			at := other.Reserve(size, 0)
			if want := at == 0; (r0 == 1) != want {
				t.Fatalf("record %d of %d bytes: no room is %v, want %v", i, size, r0 == 1, want)
			}
			if at != 0 {
				if discard {
					other.Discard(at, flags)
				} else {
					other.Submit(at, flags)
				}
			}
			if got, want := woken(ring), woken(other); got != want {
				t.Fatalf("record %d, flags %d: the reader is woken: %v, want %v", i, flags, got, want)
			}
			if ring.Avail() != other.Avail() {
				t.Fatalf("record %d: %d bytes in the ring, want %d", i, ring.Avail(), other.Avail())
			}
			if i%5 == 0 {
				var sizes [2][]int
				ring.Consume(func(b []byte) bool {
					v := binary.NativeEndian.Uint64(b)
					if binary.NativeEndian.Uint64(b[8:]) != ^v {
						t.Errorf("a record of %d", v)
					}
					sizes[0] = append(sizes[0], len(b))
					return i%10 != 0
				})
				other.Consume(func(b []byte) bool { sizes[1] = append(sizes[1], len(b)); return i%10 != 0 })
				if len(sizes[0]) != len(sizes[1]) {
					t.Errorf("sizes %v, want %v", sizes[0], sizes[1])
				}
			}
		}
	})
}

// bpf_ringbuf_output, written out or not, does what the map's own code does: the same results,
// records, and wake-ups.
func TestRingBufOutput(t *testing.T) {
	block, err := mem.Alloc(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer block.Free()
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the bytes are not the run's")
		}
		mp := newMap(t, m, catalog.MapDef{Type: catalog.MapRingBuf, MaxEntries: 4096})
		ring := maps.Unwrap(mp).(*maps.RingBuf)
		other := maps.Unwrap(newMap(t, m, catalog.MapDef{Type: catalog.MapRingBuf, MaxEntries: 4096})).(*maps.RingBuf)
		sizes := []int32{0, 1, 2, 3, 7, 8, 15, 16, 24, 29, 64, 101, 255, 256, 257, 4000, 4088, 4089}
		var programs []*Program
		for _, size := range sizes {
			for flags := range int32(5) {
				programs = append(programs, programOn(t, m, mp.Def(),
					isa.LdImm64(isa.R1, mp.Def().Ptr), isa.LdImm64(isa.R2, block.Addr()), isa.Mov64Imm(isa.R3, size), isa.Mov64Imm(isa.R4, flags),
					isa.HelperCall(int32(catalog.FnRingBufOutput)), isa.ExitInsn()))
			}
		}
		woken := func(r *maps.RingBuf) bool {
			select {
			case <-r.Wake():
				return true
			default:
				return false
			}
		}
		records := func(r *maps.RingBuf) (all [][]byte) {
			r.Consume(func(b []byte) bool { all = append(all, bytes.Clone(b)); return len(all)%5 != 0 })
			return all
		}
		for i := range 2000 {
			k := i * 7 % len(programs)
			size, flags := uint64(sizes[k/5]), uint64(k%5)
			for j := range block.Bytes() {
				block.Bytes()[j] = byte(i + j)
			}
			want := other.Output(block.Addr(), size, flags)
			if r0 := runOn(t, m, programs[k]); r0 != want {
				t.Fatalf("record %d of %d bytes, flags %d: %d, want %d", i, size, flags, int64(r0), int64(want))
			}
			if got, want := woken(ring), woken(other); got != want {
				t.Fatalf("record %d, flags %d: the reader is woken: %v, want %v", i, flags, got, want)
			}
			if i%9 == 0 && !reflect.DeepEqual(records(ring), records(other)) {
				t.Fatalf("record %d: others are read", i)
			}
		}
	})
}

// Several vCPUs and Go write to one ring, and a reader that sleeps until it is woken
// sees every record whole, each writer's in order.
func TestRingBufUnderContention(t *testing.T) {
	each(t, Options{CPUs: 3}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the record is not the run's")
		}
		const each, writers = 5000, 4
		mp := newMap(t, m, catalog.MapDef{Type: catalog.MapRingBuf, MaxEntries: 4096})
		ring := maps.Unwrap(mp).(*maps.RingBuf)
		submit := ringWriter(t, m, mp.Def(), 24, catalog.FnRingBufSubmit, 0)
		discard := ringWriter(t, m, mp.Def(), 40, catalog.FnRingBufDiscard, 0)
		output := programOn(t, m, mp.Def(), // the same from the stack
			isa.LoadMem(isa.DW, isa.R6, isa.R1, 0), isa.StoreMem(isa.DW, isa.RFP, isa.R6, -16), isa.ALU64Imm(isa.Xor, isa.R6, -1), isa.StoreMem(isa.DW, isa.RFP, isa.R6, -8),
			isa.LdImm64(isa.R1, mp.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -16), isa.Mov64Imm(isa.R3, 16), isa.Mov64Imm(isa.R4, 0),
			isa.HelperCall(int32(catalog.FnRingBufOutput)), isa.ALU64Imm(isa.Rsh, isa.R0, 63), isa.ExitInsn())
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := 0; i < each; {
					var none bool
					v := uint64(w)<<32 | uint64(i)
					if w == writers-1 { // in Go
						at := ring.Reserve(16, 0)
						if none = at == 0; !none {
							b := mem.Bytes(at, 16)
							binary.NativeEndian.PutUint64(b, v)
							binary.NativeEndian.PutUint64(b[8:], ^v)
							ring.Submit(at, 0)
						}
					} else {
						c := m.Acquire()
						binary.NativeEndian.PutUint64(c.scratch.Bytes(), v)
						if i%3 == 0 {
							c.Run(discard, c.scratch.Addr(), nil)
						}
						write := submit
						if w == 0 {
							write = output
						}
						r0, err := c.Run(write, c.scratch.Addr(), nil)
						c.Release()
						if err != nil {
							t.Error(err)
							return
						}
						none = r0 == 1
					}
					if !none {
						i++
					}
				}
			})
		}
		var next [writers]uint64
		for seen, last := 0, time.Now(); seen < each*writers; {
			n := ring.Consume(func(b []byte) bool {
				v := binary.NativeEndian.Uint64(b)
				w := v >> 32
				if binary.NativeEndian.Uint64(b[8:]) != ^v || w >= writers || v&(1<<32-1) != next[w] {
					t.Errorf("a record of %#x, where number %d of its writer was to come", v, next[w%writers])
				}
				next[w%writers]++
				return true
			})
			if seen += n; n != 0 {
				last = time.Now()
				continue
			}
			select {
			case <-ring.Wake():
			case <-time.After(10 * time.Second):
				t.Fatalf("nobody wakes the reader, %v after record %d", time.Since(last), seen)
			}
		}
		wg.Wait()
	})
}
