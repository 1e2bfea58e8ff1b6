package run

import (
	"encoding/binary"
	"encoding/json"

	"github.com/skep-bpf/skep/internal/btfval"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// The report as JSON. Times are nanoseconds, values what bpftool's map dump
// shows as "formatted".
type jsonReport struct {
	Object  string        `json:"object"`
	Program string        `json:"program"`
	Section string        `json:"section"`
	Type    string        `json:"type"`
	Engine  string        `json:"engine"`
	Packets uint64        `json:"packets"`
	Bytes   uint64        `json:"bytes"`
	Verdict []jsonVerdict `json:"verdicts"`
	Maps    []jsonMap     `json:"maps"`
	Traced  uint64        `json:"traced"`
	Trace   []string      `json:"trace"` // the first lines
	PerRun  int64         `json:"run_time_ns"`
	Elapsed int64         `json:"elapsed_ns"`
}

type jsonVerdict struct {
	Name    string  `json:"verdict"`
	Packets uint64  `json:"packets"`
	Bytes   uint64  `json:"bytes"`
	Share   float64 `json:"share"`
}

type jsonMap struct {
	Name       string      `json:"name"`
	Type       string      `json:"type"`
	MaxEntries uint32      `json:"max_entries"`
	Count      int         `json:"count"`
	Entries    []jsonEntry `json:"entries"` // of arrays those that are not zero
	Events     *jsonEvents `json:"events,omitempty"`
}

// jsonEvents is what came through a ring buffer or a perf event array.
type jsonEvents struct {
	Records uint64            `json:"records"`
	Bytes   uint64            `json:"bytes"`
	Lost    uint64            `json:"lost"`
	First   []json.RawMessage `json:"first"` // the first ones, as bytes without --decode
}

type jsonEntry struct {
	Key   json.RawMessage `json:"key,omitempty"` // queues and stacks have none
	Value json.RawMessage `json:"value,omitempty"`
	CPUs  json.RawMessage `json:"values,omitempty"` // of a per-CPU map
	Name  string          `json:"name,omitempty"`   // of the program or map whose id the value is
}

// printJSON writes the report as one JSON object.
func (t *totals) printJSON(s *ui.Streams, order binary.ByteOrder) error {
	r := jsonReport{
		Object: t.Object, Program: t.Program.Name, Section: t.Program.Section, Type: t.Program.Type.String(),
		Engine: t.Engine, Packets: t.Packets, Bytes: t.Bytes, Traced: t.Traced, Trace: append([]string{}, t.lines...),
		PerRun: t.perRun().Nanoseconds(), Elapsed: t.Elapsed.Nanoseconds(),
		Verdict: []jsonVerdict{}, Maps: []jsonMap{},
	}
	for _, c := range t.sorted() {
		r.Verdict = append(r.Verdict, jsonVerdict{c.name, c.packets, c.bytes, t.share(c)})
	}
	for _, d := range t.maps {
		m := jsonMap{Name: d.Name, Type: d.Type.String(), MaxEntries: d.MaxEntries, Count: d.count, Entries: []jsonEntry{}}
		if e := d.events; e != nil {
			m.Events = &jsonEvents{Records: e.records, Bytes: e.bytes, Lost: e.lost, First: []json.RawMessage{}}
			for _, record := range e.first {
				m.Events.First = append(m.Events.First, btfval.JSON(d.record, record, order))
			}
		}
		for _, e := range d.entries {
			j := jsonEntry{Name: e.name}
			if e.key != nil {
				j.Key = btfval.JSON(d.keyType, e.key, order)
			}
			if d.perCPU {
				j.CPUs = btfval.JSONPerCPU(d.Value, int(d.ValueSize), e.value, order)
			} else {
				j.Value = btfval.JSON(d.Value, e.value, order)
			}
			m.Entries = append(m.Entries, j)
		}
		r.Maps = append(r.Maps, m)
	}
	enc := json.NewEncoder(s.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
