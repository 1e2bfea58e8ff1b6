package run

import (
	"math"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// verdict is what a program said of a packet.
type verdict struct {
	name  string
	order int64 // in the table
	pass  bool
	keep  int // bytes of the packet as it came that go on; -1: all, as it now is
	style ui.Style
}

// Ways to mark a verdict: the packet goes on, is taken by someone, is gone.
func passed(name string, order int64) verdict {
	return verdict{name: name, order: order, pass: true, keep: -1, style: ui.Green}
}

func taken(name string, order int64) verdict {
	return verdict{name: name, order: order, style: ui.Amber}
}

func dropped(name string, order int64) verdict {
	return verdict{name: name, order: order, style: ui.Red}
}

func xdpVerdict(ret uint32, _ int) verdict {
	a := hook.XDPAction(ret)
	switch a {
	case hook.XDPPass, hook.XDPTx, hook.XDPRedirect:
		return passed(a.String(), int64(a))
	}
	return dropped(a.String(), int64(a)) // unknown ones as well
}

func tcVerdict(ret uint32, _ int) verdict {
	a := hook.TCAction(ret)
	switch a {
	case hook.TCShot:
		return dropped(a.String(), int64(a))
	case hook.TCStolen, hook.TCQueued, hook.TCTrap:
		return taken(a.String(), int64(a))
	}
	return passed(a.String(), int64(a)) // unknown ones as TC_ACT_UNSPEC
}

// ethernetHeader is what a socket filter does not see of a packet in a test
// run, in bytes: its result counts from the network header.
const ethernetHeader = 14

// filterVerdict reads a socket filter's result: how much of a packet, of the
// given size with its Ethernet header, the socket gets. The first hidden bytes
// of the packet are not counted.
func filterVerdict(hidden int) func(ret uint32, size int) verdict {
	return func(ret uint32, size int) verdict {
		seen := uint64(max(0, size-hidden))
		v := passed("accepted", 0)
		v.keep = size
		switch {
		case ret == 0:
			return dropped("dropped", 2)
		case uint64(ret) < seen:
			v = verdict{name: "truncated", order: 1, pass: true, keep: hidden + int(ret), style: ui.Amber}
		}
		return v
	}
}

// cgroupVerdict reads the result of a program that guards a control group's
// packets: bit 0 lets them pass, bit 1 reports congestion.
func cgroupVerdict(ret uint32, size int) verdict {
	if ret&1 == 0 {
		return dropped("denied", 1)
	}
	v := passed("allowed", 0)
	v.keep = size
	return v
}

// netfilterVerdict reads the result of a netfilter program.
func netfilterVerdict(ret uint32, size int) verdict {
	if ret == 0 {
		return dropped("NF_DROP", 0)
	}
	v := passed("NF_ACCEPT", 1)
	v.keep = size
	return v
}

// notRun counts the packets an engine refused to run at all.
var notRun = taken("not run", math.MaxInt64)
