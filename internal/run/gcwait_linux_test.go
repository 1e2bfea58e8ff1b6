package run

import (
	"math"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// The collector waits for native code until it leaves: a run that needs no
// polls, or what is between two. These benchmarks tell how long that is. On a
// busy machine the second tells how long threads wait for a processor instead.
//
//	go test ./internal/run -run - -bench 'LongestStretch|CollectorWait' -benchtime 300x

// BenchmarkLongestStretch has runs of as many instructions as may go without a
// poll: the cheapest ones, and the dearest.
func BenchmarkLongestStretch(b *testing.B) {
	const limit = 1 << 17 // jit.briefLimit
	m := newMachine(b, Options{CPUs: 1})
	for name, body := range bodies(b, m) {
		b.Run(name, func(b *testing.B) {
			p := looping(b, m, body, limit/body.cost)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			best := time.Duration(math.MaxInt64)
			for b.Loop() {
				start := threadTime()
				runOn(b, m, p)
				best = min(best, threadTime()-start)
			}
			b.ReportMetric(float64(best)/1e3, "µs/stretch")
		})
	}
}

func threadTime() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// BenchmarkCollectorWait has the collector stop the world beside loops that poll.
func BenchmarkCollectorWait(b *testing.B) {
	m := newMachine(b, Options{CPUs: 1})
	for name, body := range bodies(b, m) {
		b.Run(name, func(b *testing.B) {
			p := looping(b, m, body, 0)
			done, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				cpu := m.Acquire()
				defer cpu.Release()
				cpu.RunUntil(done, p, 0, nil)
			}()
			before := stops()
			for b.Loop() {
				runtime.GC()
			}
			after := stops()
			close(done)
			<-ended
			b.ReportMetric(1e6*quantile(before, after, 0.5), "µs/median-wait")
			b.ReportMetric(1e6*quantile(before, after, 0.99), "µs/p99-wait")
			b.ReportMetric(1e6*quantile(before, after, 1), "µs/max-wait")
		})
	}
}

type body struct {
	insns []isa.Instruction
	cost  int             // how many instructions each counts for
	table *catalog.MapDef // that it looks up in
}

// bodies are what the loops do: nothing, a division, a lookup in a large table, one in a
// trie that has a prefix of each length on the way.
func bodies(b *testing.B, m *Machine) map[string]body {
	hash := newMap(b, m, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 8, MaxEntries: 1 << 16})
	for i := range uint32(1 << 16) {
		if err := hash.Update(u32(i), make([]byte, 8), 0); err != nil {
			b.Fatal(err)
		}
	}
	trie := newMap(b, m, catalog.MapDef{Type: catalog.MapLPMTrie, KeySize: 20, ValueSize: 8, MaxEntries: 256, Flags: catalog.FlagNoPrealloc})
	for n := range uint32(129) {
		if err := trie.Update(append(u32(n), make([]byte, 16)...), make([]byte, 8), 0); err != nil {
			b.Fatal(err)
		}
	}
	return map[string]body{
		"nothing": {cost: 1},
		"divide":  {isa.Program(isa.LdImm64(isa.R0, math.MaxUint64), isa.Mov64Imm(isa.R1, 3), isa.ALU64Reg(isa.Div, isa.R0, isa.R1)), 1, nil},
		"clock":   {isa.Program(isa.HelperCall(int32(catalog.FnKtimeGetNs))), 8, nil},
		"trie": {isa.Program(
			isa.StoreImm(isa.DW, isa.RFP, -8, 0), isa.StoreImm(isa.DW, isa.RFP, -16, 0), isa.StoreImm(isa.DW, isa.RFP, -24, 0),
			isa.StoreImm(isa.W, isa.RFP, -20, 128),
			isa.LdImm64(isa.R1, trie.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -20),
			isa.HelperCall(int32(catalog.FnMapLookupElem))), 1 + 128*4/4, trie.Def()},
		"lookup": {isa.Program(
			isa.LoadMem(isa.W, isa.R1, isa.RFP, -4), isa.ALU64Imm(isa.Add, isa.R1, 40503), isa.StoreMem(isa.W, isa.RFP, isa.R1, -4),
			isa.LdImm64(isa.R1, hash.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
			isa.HelperCall(int32(catalog.FnMapLookupElem))), 1, hash.Def()},
	}
}

// looping makes a program that repeats body, for so many instructions that the
// verifier would have seen them all, or, with 0, for longer than anybody waits.
func looping(b *testing.B, m *Machine, body body, limit int) *Program {
	code := isa.Program(isa.StoreImm(isa.W, isa.RFP, -4, 0), isa.Mov64Imm(isa.R6, math.MaxInt32), isa.Instructions(body.insns), isa.ALU64Imm(isa.Sub, isa.R6, 1))
	length := len(code) - 1 // of a round
	code = append(code, isa.Program(isa.JmpImm(isa.Jne, isa.R6, 0, int16(-length)), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())...)
	if limit > 0 {
		code[1].Imm = int32(limit / length)
	}
	rw := &rewrite.Program{
		Insns: code, Subprogs: []verifier.Subprog{{End: len(code), StackDepth: 24}},
		Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP, Insns: code},
		Facts:  &verifier.Result{Stats: verifier.Stats{InsnProcessed: limit}},
	}
	for pc := range code {
		rw.Orig = append(rw.Orig, int32(pc))
		rw.Facts.Insns = append(rw.Facts.Insns, verifier.InsnFacts{Seen: true, Map: body.table})
	}
	p, err := m.NewProgram(rw, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	return p
}

// stops is the histogram of how long stopping the world for the collector took.
func stops() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// quantile is the upper bound of the bucket that holds the q-th part of what after has over before.
func quantile(before, after *metrics.Float64Histogram, q float64) float64 {
	var all, sum uint64
	for i := range after.Counts {
		all += after.Counts[i] - before.Counts[i]
	}
	for i := range after.Counts {
		if sum += after.Counts[i] - before.Counts[i]; sum > 0 && float64(sum) >= q*float64(all) {
			return after.Buckets[i+1]
		}
	}
	return 0
}
