package run

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var packetOptions = packet.XDPOptions{}

// A value is { u64 fired; u64 key; struct bpf_timer timer }.
const (
	firedOff = 0
	keyOff   = 8
	timerOff = 16
)

func timerMap(t testing.TB, m *Machine, kind catalog.MapType) maps.Map {
	return newMap(t, m, catalog.MapDef{
		Type: kind, KeySize: 4, ValueSize: 32, MaxEntries: 4,
		Special: []catalog.SpecialField{{Kind: catalog.SpecialTimer, Off: timerOff, Size: 16}},
	})
}

// timerProgram is timerCode as a program.
func timerProgram(t testing.TB, m *Machine, mp maps.Map, delay int32) *Program {
	t.Helper()
	p, err := m.NewProgram(timerCode(mp, delay), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// timerCode looks element 1 up, arms its timer for delay ns and returns what
// bpf_timer_start said. The callback counts in the value and notes the key.
func timerCode(mp maps.Map, delay int32) *rewrite.Program {
	main := isa.Program(
		isa.StoreImm(isa.W, isa.RFP, -4, 1),
		isa.LdImm64(isa.R1, mp.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
		isa.HelperCall(int32(catalog.FnMapLookupElem)),
		isa.Mov64Reg(isa.R6, isa.R0), isa.ALU64Imm(isa.Add, isa.R6, timerOff),
		isa.Mov64Reg(isa.R1, isa.R6), isa.LdImm64(isa.R2, mp.Def().Ptr), isa.Mov64Imm(isa.R3, 1),
		isa.HelperCall(int32(catalog.FnTimerInit)),
		isa.Mov64Reg(isa.R1, isa.R6), isa.LdFunc(isa.R2, 7),
		isa.HelperCall(int32(catalog.FnTimerSetCallback)),
		isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, delay), isa.Mov64Imm(isa.R3, 0),
		isa.HelperCall(int32(catalog.FnTimerStart)),
		isa.ExitInsn(),
	)
	callback := isa.Program(
		isa.LoadMem(isa.W, isa.R4, isa.R2, 0), isa.StoreMem(isa.DW, isa.R3, isa.R4, keyOff),
		isa.LoadMem(isa.DW, isa.R4, isa.R3, firedOff), isa.ALU64Imm(isa.Add, isa.R4, 1), isa.StoreMem(isa.DW, isa.R3, isa.R4, firedOff),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn(),
	)
	n := len(main)
	return &rewrite.Program{
		Insns:    append(main, callback...),
		Subprogs: []verifier.Subprog{{Start: 0, End: n, StackDepth: 8}, {Start: n, End: n + len(callback), Callback: true}},
		Source:   &verifier.Program{Name: "timer", Type: catalog.ProgXDP},
	}
}

func value(t testing.TB, mp maps.Map) (fired, key uint64) {
	t.Helper()
	v := make([]byte, 32)
	if err := mp.Lookup(u32(1), v, 0); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(v[firedOff:]), binary.LittleEndian.Uint64(v[keyOff:])
}

func TestTimerOnManualClock(t *testing.T) {
	for _, kind := range []catalog.MapType{catalog.MapArray, catalog.MapHash} {
		each(t, Options{}, func(t *testing.T, _ *Machine) {
			clock := NewManualClock(0, time.Unix(0, 0))
			m := newMachine(t, Options{Clock: clock})
			mp := timerMap(t, m, kind)
			if err := mp.Update(u32(1), make([]byte, 32), 0); err != nil {
				t.Fatal(err)
			}
			p := timerProgram(t, m, mp, 1000)
			if r0 := runOn(t, m, p); r0 != 0 {
				t.Fatalf("bpf_timer_start: %d", int64(r0))
			}
			clock.Advance(999)
			if fired, _ := value(t, mp); fired != 0 {
				t.Error("fired too early")
			}
			clock.Advance(1)
			if fired, key := value(t, mp); fired != 1 || key != 1 {
				t.Errorf("fired %d times for key %d, want once for 1", fired, key)
			}
			clock.Advance(time.Hour)
			if fired, _ := value(t, mp); fired != 1 {
				t.Errorf("fired %d times, want once", fired)
			}
			// Deleting the element disarms it.
			runOn(t, m, p)
			if kind == catalog.MapHash {
				if err := mp.Delete(u32(1)); err != nil {
					t.Fatal(err)
				}
				if err := mp.Update(u32(1), make([]byte, 32), 0); err != nil {
					t.Fatal(err)
				}
				clock.Advance(time.Hour)
				if fired, _ := value(t, mp); fired != 0 {
					t.Error("the timer of a deleted element fired")
				}
			}
		})
	}
}

func TestTimerOnRealClock(t *testing.T) {
	traced := make(chan string, 1)
	m := newMachine(t, Options{Trace: func(l TraceLine) { traced <- string(l.Text) }})
	mp := timerMap(t, m, catalog.MapArray)
	p := program(t, m, []verifier.Subprog{{Start: 0, End: 17}, {Start: 17, End: 24, StackDepth: 8}},
		isa.LdImm64(isa.R6, mp.Def().ValueBase+timerOff),
		isa.Mov64Reg(isa.R1, isa.R6), isa.LdImm64(isa.R2, mp.Def().Ptr), isa.Mov64Imm(isa.R3, 1),
		isa.HelperCall(int32(catalog.FnTimerInit)),
		isa.Mov64Reg(isa.R1, isa.R6), isa.LdFunc(isa.R2, 8),
		isa.HelperCall(int32(catalog.FnTimerSetCallback)),
		isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, 1000), isa.Mov64Imm(isa.R3, 0),
		isa.HelperCall(int32(catalog.FnTimerStart)),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn(),
		// trace_printk("!")
		isa.StoreImm(isa.H, isa.RFP, -8, '!'), isa.Mov64Reg(isa.R1, isa.RFP), isa.ALU64Imm(isa.Add, isa.R1, -8),
		isa.Mov64Imm(isa.R2, 2), isa.HelperCall(int32(catalog.FnTracePrintk)),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn(),
	)
	runOn(t, m, p)
	if got := <-traced; got != "!" {
		t.Errorf("the callback traced %q", got)
	}
}

// A callback may start its own timer again, but not wait for itself to end.
func TestTimerFromItsOwnCallback(t *testing.T) {
	clock := NewManualClock(0, time.Unix(0, 0))
	m := newMachine(t, Options{Clock: clock})
	mp := timerMap(t, m, catalog.MapArray)
	main := isa.Program(
		isa.LdImm64(isa.R6, mp.Def().ValueBase+32+timerOff), // of element 1
		isa.Mov64Reg(isa.R1, isa.R6), isa.LdImm64(isa.R2, mp.Def().Ptr), isa.Mov64Imm(isa.R3, 1),
		isa.HelperCall(int32(catalog.FnTimerInit)),
		isa.Mov64Reg(isa.R1, isa.R6), isa.LdFunc(isa.R2, 7),
		isa.HelperCall(int32(catalog.FnTimerSetCallback)),
		isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, 100), isa.Mov64Imm(isa.R3, 0),
		isa.HelperCall(int32(catalog.FnTimerStart)), isa.ExitInsn())
	callback := isa.Program(
		isa.Mov64Reg(isa.R7, isa.R3),
		isa.LoadMem(isa.DW, isa.R4, isa.R7, firedOff), isa.ALU64Imm(isa.Add, isa.R4, 1), isa.StoreMem(isa.DW, isa.R7, isa.R4, firedOff),
		isa.Mov64Reg(isa.R1, isa.R7), isa.ALU64Imm(isa.Add, isa.R1, timerOff),
		isa.HelperCall(int32(catalog.FnTimerCancel)),
		isa.StoreMem(isa.DW, isa.R7, isa.R0, keyOff),
		isa.Mov64Reg(isa.R1, isa.R7), isa.ALU64Imm(isa.Add, isa.R1, timerOff), isa.Mov64Imm(isa.R2, 100), isa.Mov64Imm(isa.R3, 0),
		isa.HelperCall(int32(catalog.FnTimerStart)),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	n := len(main)
	p := program(t, m, []verifier.Subprog{{Start: 0, End: n}, {Start: n, End: n + len(callback), Callback: true}},
		isa.Instructions(main), isa.Instructions(callback))
	if r0 := runOn(t, m, p); r0 != 0 {
		t.Fatalf("bpf_timer_start: %d", int64(r0))
	}
	clock.Advance(350)
	fired, answer := value(t, mp)
	if fired != 3 || int64(answer) != -35 {
		t.Errorf("fired %d times, cancel says %d; want 3 and -EDEADLK", fired, int64(answer))
	}
}

// A machine may be closed while its timers are about to fire.
func TestCloseWithTimersDue(t *testing.T) {
	for range 30 {
		m, err := New(Options{CPUs: 2})
		if err != nil {
			t.Fatal(err)
		}
		mp, err := m.NewMap(catalog.MapDef{
			Type: catalog.MapArray, KeySize: 4, ValueSize: 32, MaxEntries: 4,
			Special: []catalog.SpecialField{{Kind: catalog.SpecialTimer, Off: timerOff, Size: 16}},
		})
		if err != nil {
			t.Fatal(err)
		}
		rw := timerCode(mp, 1000)
		p, err := m.NewProgram(rw, []maps.Map{mp})
		if err != nil {
			t.Fatal(err)
		}
		runOn(t, m, p)
		p.Close()
		mp.Close()
		m.Close()
	}
}

// A timer ends with the last handle on its map, though timer, program and map
// hold each other.
func TestTimersEndWithTheLastHandle(t *testing.T) {
	clock := NewManualClock(0, time.Unix(0, 0))
	m := newMachine(t, Options{Clock: clock})
	mp, err := m.NewMap(catalog.MapDef{
		Type: catalog.MapArray, KeySize: 4, ValueSize: 32, MaxEntries: 4,
		Special: []catalog.SpecialField{{Kind: catalog.SpecialTimer, Off: timerOff, Size: 16}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.NewProgram(timerCode(mp, 1000), []maps.Map{mp})
	if err != nil {
		t.Fatal(err)
	}
	at := mp.Def().ValueBase
	m.ShareMap(mp)
	if r0 := runOn(t, m, p); r0 != 0 {
		t.Fatalf("bpf_timer_start: %d", int64(r0))
	}
	m.CloseMap(mp)
	clock.Advance(1000)
	if fired, _ := value(t, mp); fired != 1 {
		t.Error("the timer ended with a handle that was not the last")
	}
	runOn(t, m, p)
	m.CloseMap(mp)
	if r0 := runOn(t, m, p); int64(r0) != -22 { // init says EPERM, start EINVAL
		t.Errorf("a timer without a user was started: %d", int64(r0))
	}
	p.Close()
	m.Epoch.Wait()
	if mem.Readable(at, 8) {
		t.Error("the map outlived its program and its users")
	}
}
