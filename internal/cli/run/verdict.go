package run

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/cli/ui"
)

// verdict is what a program said of a packet.
type verdict struct {
	name  string
	order int // in the table
	pass  bool
	keep  int // bytes of the packet that go on when it passes; -1: all
	style ui.Style
}

// xdpActions are enum xdp_action, at their numbers.
var xdpActions = [...]verdict{
	0: {name: "XDP_ABORTED", style: ui.Red},
	1: {name: "XDP_DROP", style: ui.Red},
	2: {name: "XDP_PASS", style: ui.Green, pass: true, keep: -1},
	3: {name: "XDP_TX", style: ui.Green, pass: true, keep: -1},
	4: {name: "XDP_REDIRECT", style: ui.Green, pass: true, keep: -1},
}

// tcActions are the TC_ACT_* codes from -1 on, as linux/pkt_cls.h numbers them.
var tcActions = [...]verdict{
	0: {name: "TC_ACT_UNSPEC", style: ui.Green, pass: true, keep: -1},
	1: {name: "TC_ACT_OK", style: ui.Green, pass: true, keep: -1},
	2: {name: "TC_ACT_RECLASSIFY", style: ui.Green, pass: true, keep: -1},
	3: {name: "TC_ACT_SHOT", style: ui.Red},
	4: {name: "TC_ACT_PIPE", style: ui.Green, pass: true, keep: -1},
	5: {name: "TC_ACT_STOLEN", style: ui.Amber},
	6: {name: "TC_ACT_QUEUED", style: ui.Amber},
	7: {name: "TC_ACT_REPEAT", style: ui.Green, pass: true, keep: -1},
	8: {name: "TC_ACT_REDIRECT", style: ui.Green, pass: true, keep: -1},
	9: {name: "TC_ACT_TRAP", style: ui.Amber},
}

func xdpVerdict(ret uint32, _ int) verdict {
	return named(xdpActions[:], int64(ret), 0)
}

func tcVerdict(ret uint32, _ int) verdict {
	return named(tcActions[:], int64(int32(ret)), -1)
}

// named finds the verdict of a code, where actions begin with first.
func named(actions []verdict, code, first int64) verdict {
	if i := code - first; i >= 0 && i < int64(len(actions)) {
		v := actions[i]
		v.order = int(i)
		return v
	}
	// The kernel treats an unknown code as a drop.
	return verdict{name: fmt.Sprintf("unknown (%d)", code), order: len(actions), style: ui.Red}
}

// filterVerdict reads a socket filter's result: how many bytes of a packet of
// the given size the socket gets.
func filterVerdict(ret uint32, size int) verdict {
	switch {
	case ret == 0:
		return verdict{name: "dropped", order: 2, style: ui.Red}
	case uint64(ret) < uint64(size):
		return verdict{name: "truncated", order: 1, style: ui.Amber, pass: true, keep: int(ret)}
	}
	return verdict{name: "accepted", order: 0, style: ui.Green, pass: true, keep: -1}
}

// notRun counts the packets an engine refused to run at all.
var notRun = verdict{name: "not run", order: 1 << 20, style: ui.Amber}
