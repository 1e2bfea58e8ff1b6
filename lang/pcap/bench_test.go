package pcap

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"
)

// BenchmarkCompile compiles the everyday expressions, one after the other.
func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		CompileProgram(everyday[i%len(everyday)], Ethernet, 262144, nil)
	}
}

// BenchmarkCompileRatio compares with libpcap, expression by expression: the
// quartiles of the times are reported, and of our time over libpcap's.
func BenchmarkCompileRatio(b *testing.B) {
	const rounds, batches = 100, 15 // of the batches, the fastest counts
	l := newLibpcap(b, strconv.Itoa(rounds))
	var theirs, ours, ratios []float64
	for range b.N {
		theirs, ours, ratios = nil, nil, nil
		for _, e := range everyday {
			q := query{e, Ethernet, 262144, Options{}}
			if q.ours()[0] != '+' {
				continue
			}
			lib, us := math.Inf(1), math.Inf(1)
			for range batches {
				ns, err := strconv.ParseFloat(l.ask(b, q), 64)
				if err != nil {
					b.Fatal(err)
				}
				lib = min(lib, ns)
				start := time.Now()
				for range rounds {
					CompileProgram(q.expr, q.link, q.snaplen, &q.opts)
				}
				us = min(us, float64(time.Since(start).Nanoseconds())/rounds)
			}
			theirs, ours, ratios = append(theirs, lib), append(ours, us), append(ratios, us/lib)
			if testing.Verbose() {
				b.Logf("%-60s libpcap %7.0f ns  ours %7.0f ns  %.2f", e, lib, us, us/lib)
			}
		}
	}
	quartiles := func(name string, v []float64) {
		slices.Sort(v)
		for i, q := range []string{"min", "p25", "p50", "p75", "max"} {
			b.ReportMetric(v[i*(len(v)-1)/4], fmt.Sprintf("%s-%s", name, q))
		}
	}
	quartiles("libpcap-ns", theirs)
	quartiles("ours-ns", ours)
	quartiles("ratio", ratios)
}
