package bpfmap

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

const eventPipeHelp = `Puts perf events into a map of type perf_event_array, one for each CPU at the CPU's
number, or one for the given CPU at the given index, and prints what programs write to
them: the time, the CPU, the bytes. Events that were in the map before are replaced.
JSON is an array that ends when the command is interrupted.`

// eventPipe prints the records of a map's perf events as they come.
func eventPipe(v *objects.Verb) error {
	o, m, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	if m.Type != catalog.MapPerfEventArray {
		return fmt.Errorf("map %d is a %s, no perf_event_array", m.ID, objects.MapType(m.Type))
	}
	cpu, index, err := pipePlace(v)
	if err != nil {
		return err
	}
	ctx, stop := objects.UntilInterrupted()
	defer stop()
	pipe, err := linux.OpenEventPipe(o.AsMap(), m.MaxEntries, cpu, index)
	if err != nil {
		return err
	}
	defer pipe.Close()
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	return pipe.Each(ctx, func(e *linux.PipeEvent) error {
		if v.J != nil {
			jsonEvent(v.J, e)
		} else {
			plainEvent(v, e)
		}
		return v.Out.Flush() // who reads a pipe does not wait for its end
	})
}

// pipePlace takes [cpu N index N]; the first number is -1 where there is none.
func pipePlace(v *objects.Verb) (cpu, index int, err error) {
	cpu, index = -1, -1
	for v.Len() > 0 {
		to, what := &cpu, "cpu"
		switch {
		case v.Take("cpu"):
		case v.Take("index"):
			to, what = &index, "index"
		default:
			return 0, 0, ui.Usagef("%q: there are cpu and index", v.Peek())
		}
		n, err := v.Uint(what, 31)
		if err != nil {
			return 0, 0, err
		}
		*to = int(n)
	}
	if (cpu < 0) != (index < 0) {
		return 0, 0, ui.Usagef("cpu and index are given together: cpu N index N")
	}
	return cpu, index, nil
}

func jsonEvent(j *objects.JSON, e *linux.PipeEvent) {
	j.Object()
	defer j.EndObject()
	j.Field("type", e.Type)
	j.Field("cpu", e.CPU)
	j.Field("index", e.Index)
	switch e.Type {
	case linux.RecordSample:
		j.Field("timestamp", e.Time)
		j.Name("data")
		j.Numbers(e.Data)
	case linux.RecordLost:
		j.Name("lost")
		j.Object()
		j.Field("id", e.ID)
		j.Field("count", e.Lost)
		j.EndObject()
	}
}

func plainEvent(v *objects.Verb, e *linux.PipeEvent) {
	switch e.Type {
	case linux.RecordSample:
		v.Printf("== @%d.%09d CPU: %d index: %d =====\n", e.Time/1e9, e.Time%1e9, e.CPU, e.Index)
		v.Hex(e.Data, " ")
		v.Printf("\n")
	case linux.RecordLost:
		v.Printf("lost %d events\n", e.Lost)
	default:
		v.Printf("unknown event type=%d size=%d\n", e.Type, e.Size)
	}
}
