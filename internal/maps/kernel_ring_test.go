//go:build linux

package maps_test

import (
	"bytes"
	"encoding/binary"

	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/isa"
)

// kernelRing is the kernel's ring buffer mapped as a foreign reader does.
type kernelRing struct {
	cons, prod []byte // consumer page; producer page, data, data again
}

func mapRing(t *testing.T, m *linux.Map) *kernelRing {
	page := os.Getpagesize()
	cons, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	prod, err := unix.Mmap(m.FD(), int64(page), page+2*int(m.Def().MaxEntries), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(cons); unix.Munmap(prod) })
	return &kernelRing{cons, prod}
}

func (r *kernelRing) consPos() *uint64 { return (*uint64)(unsafe.Pointer(&r.cons[0])) }

func (r *kernelRing) data() []byte { return r.prod[os.Getpagesize():] }

// next consumes one record; ok is false when there is none.
func (r *kernelRing) next(size uint64) (sample []byte, ok bool) {
	prod := atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.prod[0])))
	for {
		cons := atomic.LoadUint64(r.consPos())
		if cons == prod {
			return nil, false
		}
		at := r.data()[cons&(size-1):]
		h := binary.NativeEndian.Uint32(at)
		n := uint64(h &^ (1<<31 | 1<<30))
		atomic.StoreUint64(r.consPos(), cons+(n+15)&^7)
		if h&(1<<30) == 0 {
			return bytes.Clone(at[8:][:n]), true
		}
	}
}

// ringProg outputs or reserves size bytes; data and flags come from the packet,
// and what to query, whose answer is R0, from flags.
func ringProg(t *testing.T, fd int, fn catalog.HelperID, size int32) *linux.LoadedProg {
	load := func(off, stack, n int32) isa.Instructions {
		return isa.Program(isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, off), isa.Mov64Reg(isa.R3, isa.RFP),
			isa.ALU64Imm(isa.Add, isa.R3, stack), isa.Mov64Imm(isa.R4, n), isa.HelperCall(int32(catalog.FnXDPLoadBytes)))
	}
	parts := []isa.Part{isa.Mov64Reg(isa.R6, isa.R1), isa.StoreImm(isa.DW, isa.RFP, -8, 0), load(16, -8, 8)}
	call := isa.HelperCall(int32(fn))
	flags := func(r isa.Register) isa.Instruction { return isa.LoadMem(isa.DW, r, isa.RFP, -8) }
	switch fn {
	case catalog.FnRingBufOutput:
		if size > 0 {
			parts = append(parts, load(24, -8-(size+7)&^7, size))
		}
		parts = append(parts, isa.LdMapFD(isa.R1, int32(fd)), isa.Mov64Reg(isa.R2, isa.RFP),
			isa.ALU64Imm(isa.Add, isa.R2, -8-(size+7)&^7), isa.Mov64Imm(isa.R3, size), flags(isa.R4), call)
	case catalog.FnRingBufQuery:
		parts = append(parts, isa.LdMapFD(isa.R1, int32(fd)), flags(isa.R2), call)
	default: // reserve and submit or discard
		fill := isa.Instructions(isa.Program(isa.Mov64Reg(isa.R7, isa.R0), isa.StoreImm(isa.DW, isa.R0, 0, 0x5a5a), isa.StoreImm(isa.DW, isa.R0, int16(size-8), 0x7b7b),
			isa.Mov64Reg(isa.R1, isa.R7), flags(isa.R2), call, isa.Mov64Imm(isa.R0, 1)))
		parts = append(parts, isa.LdMapFD(isa.R1, int32(fd)), isa.Mov64Imm(isa.R2, size), isa.Mov64Imm(isa.R3, 0),
			isa.HelperCall(int32(catalog.FnRingBufReserve)), isa.JmpImm(isa.Jeq, isa.R0, 0, int16(len(fill))), fill)
	}
	prog, err := linux.Load(&linux.Prog{Type: catalog.ProgXDP, License: "GPL", Insns: isa.Program(append(parts, isa.ExitInsn())...)})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return prog
}

// TestRingBufAgainstKernel fills and empties a ring many times around; every
// byte of its memory must be the kernel's.
func TestRingBufAgainstKernel(t *testing.T) {
	config(t)
	d := def(catalog.MapRingBuf, 0, 0, uint32(os.Getpagesize()), 0)
	om, err := maps.New(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	defer om.Close()
	ours := om.(*maps.RingBuf)
	kern, err := linux.NewMap(&d, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer kern.Close()
	ring := mapRing(t, kern)
	type what struct {
		fn   catalog.HelperID
		size int32
	}
	progs := map[what]*linux.LoadedProg{}
	defer func() {
		for _, p := range progs {
			p.Close()
		}
	}()
	s := newScratch(t)
	r := rand.New(rand.NewPCG(9, 9))
	size := uint64(d.MaxEntries)
	records := 0
	for range 3000 {
		w := what{catalog.FnRingBufOutput, []int32{0, 1, 7, 8, 9, 100, 300, 480}[r.IntN(8)]}
		switch r.IntN(6) {
		case 0:
			w = what{catalog.FnRingBufSubmit, []int32{8, 24, 1000, 4088, 8192}[r.IntN(5)]}
		case 1:
			w = what{catalog.FnRingBufDiscard, []int32{8, 24, 1000}[r.IntN(3)]}
		case 2:
			w = what{fn: catalog.FnRingBufQuery}
		case 3, 4:
			got, ok := []byte(nil), false
			ours.Consume(func(sample []byte) bool { got, ok = bytes.Clone(sample), true; return false })
			want, wantOK := ring.next(size)
			if ok != wantOK || !bytes.Equal(got, want) {
				t.Fatalf("consumed %v %x, kernel's %v %x", ok, got, wantOK, want)
			}
			if ok {
				records++
			}
			continue
		}
		if progs[w] == nil {
			progs[w] = ringProg(t, kern.FD(), w.fn, w.size)
		}
		flags := []uint64{0, 0, 1, 2, 3, 4, 5, 1 << 40}[r.IntN(8)]
		pkt := make([]byte, 600)
		for i := range pkt {
			pkt[i] = byte(r.Uint32())
		}
		binary.NativeEndian.PutUint64(pkt[16:], flags)
		out, err := progs[w].TestRun(&linux.Run{Data: pkt})
		if err != nil {
			t.Fatal(err)
		}
		var r0 uint64
		switch w.fn {
		case catalog.FnRingBufOutput:
			r0 = ours.Output(s.put(pkt[24:][:w.size]), uint64(w.size), flags)
		case catalog.FnRingBufQuery:
			r0 = ours.Query(flags)
		default:
			if at := ours.Reserve(uint64(w.size), 0); at != 0 {
				r0 = 1
				binary.NativeEndian.PutUint64(s.read(at, 8), 0x5a5a)
				binary.NativeEndian.PutUint64(s.read(at+uint64(w.size)-8, 8), 0x7b7b)
				if maps.RingBufOf(at) != om.Def().Ptr {
					t.Fatal("a record does not lead to its ring")
				}
				if w.fn == catalog.FnRingBufSubmit {
					ours.Submit(at, flags)
				} else {
					ours.Discard(at, flags)
				}
			}
		}
		if uint32(r0) != out.Ret {
			t.Fatalf("%+v flags %#x: R0 %d, kernel's %d", w, flags, int32(r0), int32(out.Ret))
		}
		mine := s.read(om.Def().Ptr+3*uint64(os.Getpagesize()), 2*int(size))
		if !bytes.Equal(mine, ring.data()) {
			t.Fatalf("%+v: the memory differs", w)
		}
	}
	if records < 200 || ours.Dropped() == 0 {
		t.Errorf("%d records, %d dropped: the test does not test much", records, ours.Dropped())
	}
}

// TestRingBufReserveTooLarge tries sizes that can never fit.
func TestRingBufReserve(t *testing.T) {
	m, err := maps.New(nil, def(catalog.MapRingBuf, 0, 0, uint32(os.Getpagesize()), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := m.(*maps.RingBuf)
	page := uint64(os.Getpagesize())
	for _, size := range []uint64{page, page - 7, 1 << 30, 1<<64 - 1} {
		if r.Reserve(size, 0) != 0 {
			t.Errorf("%d bytes were reserved", size)
		}
	}
	if r.Reserve(8, 1) != 0 {
		t.Error("reserved with flags")
	}
	first, second := r.Reserve(8, 0), r.Reserve(8, 0)
	r.Submit(second, maps.RingNoWakeup)
	if n := r.Consume(func([]byte) bool { return true }); n != 0 {
		t.Errorf("%d records overtook a busy one", n)
	}
	select {
	case <-r.Wake():
		t.Error("woken by a record behind a busy one")
	default:
	}
	r.Submit(first, 0)
	select {
	case <-r.Wake():
	default:
		t.Error("not woken")
	}
	if n := r.Consume(func([]byte) bool { return true }); n != 2 {
		t.Errorf("%d records", n)
	}
	if r.Avail() != 0 {
		t.Errorf("%d bytes left", r.Avail())
	}
}

// TestPerfAgainstKernel writes samples with and without packet bytes into a
// small buffer until it is full, and reads some.
func TestPerfAgainstKernel(t *testing.T) {
	cpu := pin(t)
	cfg := config(t)
	d := def(catalog.MapPerfEventArray, 4, 4, 3, 0)
	kern, err := linux.NewMap(&d, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer kern.Close()
	page := os.Getpagesize()
	event, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_BPF_OUTPUT,
		Sample_type: unix.PERF_SAMPLE_RAW, Wakeup: 1}, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	raw, err := unix.Mmap(event, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(raw)
	meta := (*unix.PerfEventMmapPage)(unsafe.Pointer(&raw[0]))

	buf, err := maps.NewPerfBuffer(cpu, page, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg.PerfBuffer = func(fd uint32) (*maps.PerfBuffer, error) {
		if fd != uint32(event) {
			return nil, errno.EBADF
		}
		return buf, nil
	}
	om, err := maps.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	defer om.Close()
	p := pairOf(t, om, kern)
	p.update(u32(0), u32(1<<20), 0)
	p.update(u32(3), u32(uint32(event)), 0)
	p.update(u32(0), u32(uint32(event)), 1)
	p.delete(u32(0))
	p.delete(u32(3))
	p.update(u32(uint32(cpu)), u32(uint32(event)), 0)
	p.lookup(u32(uint32(cpu)), 0)
	p.nextKey(nil)
	ours := om.(*maps.PerfEventArray)

	progs := map[int32]*linux.LoadedProg{}
	prog := func(size int32) *linux.LoadedProg {
		if progs[size] == nil {
			load := func(off, stack, n int32) isa.Instructions {
				return isa.Program(isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, off), isa.Mov64Reg(isa.R3, isa.RFP),
					isa.ALU64Imm(isa.Add, isa.R3, stack), isa.Mov64Imm(isa.R4, n), isa.HelperCall(int32(catalog.FnXDPLoadBytes)))
			}
			at := -8 - (size+7)&^7
			lp, err := linux.Load(&linux.Prog{Type: catalog.ProgXDP, License: "GPL", Insns: isa.Program(
				isa.Mov64Reg(isa.R6, isa.R1), isa.StoreImm(isa.DW, isa.RFP, -8, 0), load(16, -8, 8), load(24, at, size),
				isa.Mov64Reg(isa.R1, isa.R6), isa.LdMapFD(isa.R2, int32(kern.FD())), isa.LoadMem(isa.DW, isa.R3, isa.RFP, -8),
				isa.Mov64Reg(isa.R4, isa.RFP), isa.ALU64Imm(isa.Add, isa.R4, at), isa.Mov64Imm(isa.R5, size),
				isa.HelperCall(int32(catalog.FnPerfEventOutput)), isa.ExitInsn())})
			if err != nil {
				t.Fatalf("%+v", err)
			}
			t.Cleanup(func() { lp.Close() })
			progs[size] = lp
		}
		return progs[size]
	}
	s := newScratch(t)
	r := rand.New(rand.NewPCG(10, 10))
	samples, losses := 0, uint64(0)
	for range 1500 {
		if r.IntN(7) == 0 {
			var rec maps.PerfRecord
			ok := buf.Read(&rec)
			if head := atomic.LoadUint64(&meta.Data_head); ok != (head != meta.Data_tail) {
				t.Fatalf("a record: %v, kernel has %d bytes", ok, head-meta.Data_tail)
			}
			if !ok {
				continue
			}
			data := raw[page:]
			at := func(off, n uint64) []byte {
				b := make([]byte, n)
				for i := range b {
					b[i] = data[(meta.Data_tail+off+uint64(i))%uint64(page)]
				}
				return b
			}
			size := uint64(binary.NativeEndian.Uint16(at(6, 2)))
			switch typ := binary.NativeEndian.Uint32(at(0, 4)); typ {
			case 9:
				n := uint64(binary.NativeEndian.Uint32(at(8, 4)))
				want := at(12, n)
				// The kernel leaves what was there in the padding.
				if len(rec.RawSample) != int(n) || !bytes.HasPrefix(want, bytes.TrimRight(rec.RawSample, "\x00")) {
					t.Fatalf("sample %x, kernel's %x", rec.RawSample, want)
				}
				samples++
			case 2:
				if lost := binary.NativeEndian.Uint64(at(16, 8)); rec.LostSamples != lost {
					t.Fatalf("%d lost, kernel's %d", rec.LostSamples, lost)
				}
				losses += rec.LostSamples
			}
			atomic.StoreUint64(&meta.Data_tail, meta.Data_tail+size)
			continue
		}
		size := []int32{1, 4, 5, 12, 100, 333}[r.IntN(6)]
		flags := []uint64{0xffffffff, 0xffffffff, 0xffffffff, 0, 1, 2, 3, 1 << 60}[r.IntN(8)]
		extra := []uint64{0, 0, 1, 40, 500, 4000}[r.IntN(6)]
		flags |= extra << 32
		pkt := make([]byte, 512)
		for i := range pkt {
			pkt[i] = byte(r.Uint32()) | 1
		}
		binary.NativeEndian.PutUint64(pkt[16:], flags)
		out, err := prog(size).TestRun(&linux.Run{Data: pkt})
		if err != nil {
			t.Fatal(err)
		}
		if flags&(1<<60) != 0 || extra > uint64(len(pkt)) {
			continue // refused before the map is asked
		}
		r0 := ours.ProgOutput(cpu, flags, s.put(pkt[24:][:size]), uint64(size), pkt[:extra])
		if uint32(r0) != out.Ret {
			t.Fatalf("%d bytes, flags %#x: R0 %d, kernel's %d", size, flags, int32(r0), int32(out.Ret))
		}
	}
	if samples < 100 || losses == 0 {
		t.Errorf("%d samples, %d lost: the test does not test much", samples, losses)
	}
}
