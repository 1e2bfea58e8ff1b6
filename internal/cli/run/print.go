package run

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/btfval"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// print writes the report for people.
func (t *totals) print(s *ui.Streams, order binary.ByteOrder) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%v) of %s\n\n", s.Paint(ui.Bold, ui.Printable(t.Program.Name)), t.Program.Type, t.Object)
	t.printVerdicts(s, &b)
	for i := range t.maps {
		t.maps[i].print(s, &b, order)
	}
	t.printTrace(s, &b)
	fmt.Fprintf(&b, "\n%s, %s, in %s; %s in the program per packet\n",
		ui.Counted(t.Packets, "packet"), ui.Bytes(int64(t.Bytes)), rounded(t.Elapsed), perPacket(t.perRun()))
	_, err := io.WriteString(s.Out, b.String())
	return err
}

func (t *totals) printVerdicts(s *ui.Streams, b *strings.Builder) {
	table := s.NewTable("verdict", ">packets", ">bytes", ">share")
	for _, c := range t.sorted() {
		table.Styled(c.style, c.name, ui.Count(c.packets), ui.Count(c.bytes), fmt.Sprintf("%.1f%%", 100*t.share(c)))
	}
	table.Print(b)
}

func (t *totals) printTrace(s *ui.Streams, b *strings.Builder) {
	if t.Traced == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", s.Paint(ui.Bold, "traced"))
	for _, line := range t.lines {
		fmt.Fprintf(b, "  %s\n", ui.Printable(line))
	}
	if more := t.Traced - uint64(len(t.lines)); more > 0 {
		fmt.Fprintf(b, "  … and %s lines more\n", ui.Count(more))
	}
}

// print writes a map as assignments, in the words of --set.
func (d *mapDump) print(s *ui.Streams, b *strings.Builder, order binary.ByteOrder) {
	name := ui.Printable(d.Name)
	if d.Kind != image.KindDefined {
		d.printVariables(s, b, order)
		return
	}
	fmt.Fprintf(b, "\n%s (%v", s.Paint(ui.Bold, name), d.Type)
	switch {
	case d.events != nil:
		b.WriteString(")")
		d.printEvents(b, order)
		return
	case d.note != "":
		fmt.Fprintf(b, "): %s\n", d.note)
		return
	case isArray(d.Type):
		fmt.Fprintf(b, ", %s of %s entries not zero)\n", ui.Count(uint64(d.count-d.zero)), ui.Count(uint64(d.MaxEntries)))
	default:
		fmt.Fprintf(b, ", %s of %s entries)\n", ui.Count(uint64(d.count)), ui.Count(uint64(d.MaxEntries)))
	}
	for _, e := range d.entries {
		key := btfval.Format(d.keyType, e.key, order)
		switch {
		case e.name != "":
			fmt.Fprintf(b, "  [%s] = %s\n", key, ui.Printable(e.name))
			continue
		case e.key == nil:
			fmt.Fprintf(b, "  %s\n", btfval.Format(d.Value, e.value, order))
			continue
		case !d.perCPU:
			fmt.Fprintf(b, "  [%s] = %s\n", key, btfval.Format(d.Value, e.value, order))
			continue
		}
		for cpu, v := range btfval.PerCPU(int(d.ValueSize), e.value) {
			if isZero(v) {
				continue
			}
			fmt.Fprintf(b, "  [%s] = %s on CPU %d\n", key, btfval.Format(d.Value, v, order), cpu)
		}
	}
	if n := d.hidden(); n > 0 {
		fmt.Fprintf(b, "  … and %s more\n", ui.Count(uint64(n)))
	}
}

// printEvents writes how many records came through the map and, where their
// type is known, what they say.
func (d *mapDump) printEvents(b *strings.Builder, order binary.ByteOrder) {
	e := d.events
	fmt.Fprintf(b, ": %s events, %s", ui.Count(e.records), ui.Bytes(int64(e.bytes)))
	if e.lost > 0 {
		fmt.Fprintf(b, ", %s lost", ui.Count(e.lost))
	}
	b.WriteByte('\n')
	if d.record == nil {
		return
	}
	for _, record := range e.first {
		fmt.Fprintf(b, "  %s\n", btfval.Format(d.record, record, order))
	}
	if more := e.records - uint64(len(e.first)); more > 0 {
		fmt.Fprintf(b, "  … and %s more\n", ui.Count(more))
	}
}

// printVariables writes global data, a line for each variable.
func (d *mapDump) printVariables(s *ui.Streams, b *strings.Builder, order binary.ByteOrder) {
	fmt.Fprintf(b, "\n%s\n", s.Paint(ui.Bold, ui.Printable(d.Name)))
	if len(d.entries) == 0 {
		return
	}
	data := d.entries[0].value
	section, ok := d.Value.(*btf.Datasec)
	if !ok {
		fmt.Fprintf(b, "  %s\n", btfval.Format(nil, data, order))
		return
	}
	for _, v := range section.Vars {
		variable, ok := v.Type.(*btf.Var)
		if end := uint64(v.Offset) + uint64(v.Size); ok && end <= uint64(len(data)) {
			fmt.Fprintf(b, "  %s = %s\n", ui.Printable(variable.Name), btfval.Format(variable.Type, data[v.Offset:end], order))
		}
	}
}
