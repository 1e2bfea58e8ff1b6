package run

import (
	"cmp"
	"slices"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// totals are a run's figures.
type totals struct {
	Object  string
	Engine  string
	Program *image.Program

	Packets uint64
	Bytes   uint64
	Runs    uint64        // program runs: packets times --repeat
	Took    time.Duration // within the program, one run per packet
	Elapsed time.Duration // from the first packet to the last, reading and all

	verdicts []count
	lines    []string // traced, the first ones
	Traced   uint64   // how many there were
	events   map[*image.Map]*events
	decode   map[*image.Map]btf.Type // of events, by --decode
	maps     []mapDump
}

// events are the records that came through a ring buffer or a perf event array.
type events struct {
	records, bytes, lost uint64
	first                [][]byte // the first ones
}

// count is a row of the verdict table.
type count struct {
	verdict
	packets, bytes uint64
}

func newTotals(o *Options, p *image.Program) *totals {
	return &totals{Object: o.Object, Engine: o.Engine, Program: p, events: map[*image.Map]*events{}}
}

// add counts a packet of size bytes; took is 0 when the program did not run.
func (t *totals) add(v verdict, size int, took time.Duration) {
	t.Packets++
	t.Bytes += uint64(size)
	if v.name != notRun.name {
		t.Runs++
		t.Took += took
	}
	i := slices.IndexFunc(t.verdicts, func(c count) bool { return c.name == v.name })
	if i < 0 {
		i = len(t.verdicts)
		t.verdicts = append(t.verdicts, count{verdict: v})
	}
	t.verdicts[i].packets++
	t.verdicts[i].bytes += uint64(size)
}

// trace keeps the first limit lines, all when it is 0.
func (t *totals) trace(lines []string, limit int) {
	t.Traced += uint64(len(lines))
	if limit > 0 {
		lines = lines[:min(len(lines), max(0, limit-len(t.lines)))]
	}
	t.lines = append(t.lines, lines...)
}

// event counts a record and keeps the first limit, all when it is 0.
func (t *totals) event(m *image.Map, record []byte, lost uint64, limit int) {
	e := t.events[m]
	if e == nil {
		e = &events{}
		t.events[m] = e
	}
	e.lost += lost
	if len(record) == 0 {
		return
	}
	e.records++
	e.bytes += uint64(len(record))
	if limit == 0 || len(e.first) < limit {
		e.first = append(e.first, slices.Clone(record))
	}
}

// sorted returns the verdicts in the order of their codes.
func (t *totals) sorted() []count {
	rows := slices.Clone(t.verdicts)
	slices.SortFunc(rows, func(a, b count) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name))
	})
	return rows
}

// share is a row's part of all packets.
func (t *totals) share(c count) float64 { return float64(c.packets) / float64(t.Packets) }

// perRun is the mean time of a run.
func (t *totals) perRun() time.Duration {
	if t.Runs == 0 {
		return 0
	}
	return t.Took / time.Duration(t.Runs)
}

// perPacket prints a duration: 312 ns, 14.1µs.
func perPacket(d time.Duration) string {
	if d < 10*time.Microsecond {
		return ui.Count(uint64(d)) + " ns"
	}
	return rounded(d).String()
}

// rounded leaves three digits or four of a duration.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit)
}
