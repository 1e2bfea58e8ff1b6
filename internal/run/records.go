package run

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// records make the members of events' records, and the text behind them, of what the events are raised with, as
// the kernel does (include/trace/events, TP_fast_assign). in is where the programs run.
var records = map[string]func(in *CPU, args []Arg, types *btf.Spec) (members []uint64, text string, err error){
	"xdp_exception": func(_ *CPU, a []Arg, _ *btf.Spec) ([]uint64, string, error) {
		return []uint64{uint64(a[1].prog.ID()), a[2].num, a[0].num}, "", nil
	},
	"xdp_redirect":     xdpRedirectRecord,
	"xdp_redirect_err": xdpRedirectRecord,
	"bpf_trace_printk": func(_ *CPU, a []Arg, _ *btf.Spec) ([]uint64, string, error) {
		return nil, string(a[0].bytes), nil
	},
	"bpf_test_finish": func(_ *CPU, a []Arg, _ *btf.Spec) ([]uint64, string, error) {
		return []uint64{uint64(binary.NativeEndian.Uint32(a[0].bytes))}, "", nil
	},
	"netif_receive_skb": skbRecord,
	"net_dev_queue":     skbRecord,
}

// eventArgs say of what kinds the arguments are that a record is made of.
var eventArgs = map[string][]argKind{
	"xdp_exception":     {argDevice, argProg, argNumber},
	"xdp_redirect":      redirectArgs,
	"xdp_redirect_err":  redirectArgs,
	"bpf_trace_printk":  {argBytes},
	"bpf_test_finish":   {argBytes},
	"netif_receive_skb": {argPacket},
	"net_dev_queue":     {argPacket},
}

var redirectArgs = []argKind{argDevice, argProg, anyArg, argNumber, argNumber, argNumber, argNumber}

// recordOf makes the event's record; an error is who raises it with other arguments than the kernel's has.
func (e *Event) recordOf(in *CPU, args []Arg, types *btf.Spec) ([]uint64, string, error) {
	want := eventArgs[e.name]
	for i, k := range want {
		if len(args) != len(want) || k != anyArg && args[i].kind != k || k == argBytes && len(args[i].bytes) < 4 && e.name == "bpf_test_finish" {
			return nil, "", fmt.Errorf("event %s is raised with other arguments than the kernel's: %w", e.name, errno.EINVAL)
		}
	}
	return records[e.name](in, args, types)
}

// Arguments of the redirect events.
const (
	redirectDev = iota
	redirectProg
	redirectTarget
	redirectErr
	redirectMapType
	redirectMapID
	redirectIndex
)

// NoMap stands for the id of the map in the events of redirects that go through none (INT_MAX).
const NoMap = 1<<31 - 1

const xdpRedirect = 4 // the action

func xdpRedirectRecord(_ *CPU, a []Arg, _ *btf.Spec) ([]uint64, string, error) {
	to, index := uint64(0), a[redirectIndex].num
	switch mapType := catalog.MapType(a[redirectMapType].num); {
	case mapType == catalog.MapDevMap || mapType == catalog.MapDevMapHash:
		to = a[redirectTarget].num
	case a[redirectMapID].num == NoMap:
		to, index = index, 0
	}
	return []uint64{
		uint64(a[redirectProg].prog.ID()), xdpRedirect, a[redirectDev].num, a[redirectErr].num, to, a[redirectMapID].num, index,
	}, "", nil
}

func skbRecord(in *CPU, a []Arg, types *btf.Spec) ([]uint64, string, error) {
	addr, err := in.value(&a[0], types)
	name := ""
	if dev := in.m.opts.Net.Device(a[0].pkt.Ifindex); dev != nil {
		name = dev.Name
	}
	return []uint64{addr, a[0].pkt.Size()}, name, err
}
