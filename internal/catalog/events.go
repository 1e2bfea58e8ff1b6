package catalog

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Event is a tracepoint that happens here, with its record as programs of type tracepoint have it.
type Event struct {
	Group, Name string
	Fields      []EventField
	Print       string // how the kernel's trace pipe prints it
}

// EventField is a member of an event's record.
type EventField struct {
	Type, Name string
	Size       int
	Signed     bool
	// Text: where the text lies that the record ends with, its length above its offset (__data_loc).
	Text bool
}

func signed(name string) EventField {
	return EventField{Type: "int", Name: name, Size: 4, Signed: true}
}
func unsigned(name string) EventField { return EventField{Type: "u32", Name: name, Size: 4} }

const xdpActions = `__print_symbolic(REC->act, { 0, "ABORTED" }, { 1, "DROP" }, { 2, "PASS" }, { 3, "TX" }, { 4, "REDIRECT" }, { -1, ((void *)0) })`

var xdpRedirectFields = []EventField{
	signed("prog_id"), unsigned("act"), signed("ifindex"), signed("err"), signed("to_ifindex"), unsigned("map_id"), signed("map_index"),
}

const xdpRedirectPrint = `"prog_id=%d action=%s ifindex=%d to_ifindex=%d err=%d map_id=%d map_index=%d", REC->prog_id, ` + xdpActions +
	`, REC->ifindex, REC->to_ifindex, REC->err, REC->map_id, REC->map_index`

var skbFields = []EventField{
	{Type: "void *", Name: "skbaddr", Size: 8}, {Type: "unsigned int", Name: "len", Size: 4},
}

// Events are the tracepoints that happen here (include/trace/events).
var Events = []Event{
	{"xdp", "xdp_exception", []EventField{signed("prog_id"), unsigned("act"), signed("ifindex")},
		`"prog_id=%d action=%s ifindex=%d", REC->prog_id, ` + xdpActions + `, REC->ifindex`},
	{"xdp", "xdp_redirect", xdpRedirectFields, xdpRedirectPrint},
	{"xdp", "xdp_redirect_err", xdpRedirectFields, xdpRedirectPrint},
	{"bpf_trace", "bpf_trace_printk", []EventField{textField("bpf_string")}, `"%s", __get_str(bpf_string)`},
	{"bpf_test_run", "bpf_test_finish", []EventField{signed("err")}, `"bpf_test_finish with err=%d", REC->err`},
	{"net", "netif_receive_skb", append(skbFields[:2:2], textField("name")), skbPrint},
	{"net", "net_dev_queue", append(skbFields[:2:2], textField("name")), skbPrint},
}

const skbPrint = `"dev=%s skbaddr=%p len=%u", __get_str(name), REC->skbaddr, REC->len`

func textField(name string) EventField {
	return EventField{Type: "__data_loc char[]", Name: name, Size: 4, Text: true}
}

// EventByName returns the event's row, nil for one that does not happen here.
func EventByName(name string) *Event {
	for i := range Events {
		if Events[i].Name == name {
			return &Events[i]
		}
	}
	return nil
}

// EventHead is what each record begins with, in bytes: what is common to all events, which programs do not see.
const EventHead = 8

// Offsets are where the members lie, and, last, where the record ends and its text begins.
func (e *Event) Offsets() []int {
	at, all := EventHead, []int(nil)
	for _, f := range e.Fields {
		at = (at + f.Size - 1) &^ (f.Size - 1)
		all = append(all, at)
		at += f.Size
	}
	return append(all, at)
}

// Record is the event's record: its members, and behind them the text that one of them says the place of.
func (e *Event) Record(members []uint64, text string) []byte {
	offsets := e.Offsets()
	b := make([]byte, offsets[len(e.Fields)])
	for i, f := range e.Fields {
		var v uint64
		if i < len(members) {
			v = members[i]
		}
		if f.Text {
			v = uint64(len(text)+1)<<16 | uint64(len(b))
			b = append(append(b, text...), 0)
		}
		switch at := b[offsets[i]:]; f.Size {
		case 4:
			binary.NativeEndian.PutUint32(at, uint32(v))
		case 8:
			binary.NativeEndian.PutUint64(at, v)
		}
	}
	return b
}

// Format describes the record as the kernel does in tracefs.
func (e *Event) Format(id uint64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\nID: %d\nformat:\n", e.Name, id)
	field := func(typ, name string, off, size int, signed bool) {
		sign := 0
		if signed {
			sign = 1
		}
		fmt.Fprintf(&b, "\tfield:%s %s;\toffset:%d;\tsize:%d;\tsigned:%d;\n", typ, name, off, size, sign)
	}
	field("unsigned short", "common_type", 0, 2, false)
	field("unsigned char", "common_flags", 2, 1, false)
	field("unsigned char", "common_preempt_count", 3, 1, false)
	field("int", "common_pid", 4, 4, true)
	b.WriteByte('\n')
	for i, at := range e.Offsets()[:len(e.Fields)] {
		f := e.Fields[i]
		field(f.Type, f.Name, at, f.Size, f.Signed)
	}
	fmt.Fprintf(&b, "\nprint fmt: %s\n", e.Print)
	return b.String()
}
