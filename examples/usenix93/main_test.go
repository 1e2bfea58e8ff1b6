package main

import (
	"io"
	"testing"
)

// TestModelsAgree compares verdicts on every packet, and the counts with those
// of the README.
func TestModelsAgree(t *testing.T) {
	trace, err := readTrace("../captures/web.pcap")
	if err != nil {
		t.Fatal(err)
	}
	want := []count{{35, 222, 222}, {15, 814, 292}, {37, 3182, 414}, {27, 6438, 457}, {8, 1406, 417}}
	for i := range filters {
		got, err := filters[i].compare(trace)
		if err != nil {
			t.Error(err)
		}
		if got != want[i] {
			t.Errorf("%s: %+v, want %+v", filters[i].expr, got, want[i])
		}
	}
	if err := report(io.Discard, trace, 1); err != nil {
		t.Error(err)
	}
}

// BenchmarkModels has the ratios of times: of the tree's to those of the graph,
// interpreted and as native code.
func BenchmarkModels(b *testing.B) {
	trace, err := readTrace("../captures/web.pcap")
	if err != nil {
		b.Fatal(err)
	}
	for i := range filters {
		b.Run(filters[i].expr, func(b *testing.B) {
			var sum times
			for b.Loop() {
				m, err := filters[i].measure(trace, 100)
				if err != nil {
					b.Fatal(err)
				}
				sum.stack, sum.flow, sum.native = sum.stack+m.stack, sum.flow+m.flow, sum.native+m.native
			}
			b.ReportMetric(sum.stack/sum.flow, "tree/graph")
			if sum.native > 0 {
				b.ReportMetric(sum.stack/sum.native, "tree/native")
			}
		})
	}
}
