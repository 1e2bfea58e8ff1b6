package run

import "testing"

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		of   func(uint32, int) verdict
		ret  int64
		size int
		name string
		pass bool
		keep int
	}{
		{xdpVerdict, 0, 60, "XDP_ABORTED", false, 0},
		{xdpVerdict, 1, 60, "XDP_DROP", false, 0},
		{xdpVerdict, 2, 60, "XDP_PASS", true, -1},
		{xdpVerdict, 3, 60, "XDP_TX", true, -1},
		{xdpVerdict, 4, 60, "XDP_REDIRECT", true, -1},
		{xdpVerdict, 77, 60, "XDP(77)", false, 0},
		{tcVerdict, -1, 60, "TC_ACT_UNSPEC", true, -1},
		{tcVerdict, 0, 60, "TC_ACT_OK", true, -1},
		{tcVerdict, 2, 60, "TC_ACT_SHOT", false, 0},
		{tcVerdict, 4, 60, "TC_ACT_STOLEN", false, 0},
		{tcVerdict, 7, 60, "TC_ACT_REDIRECT", true, -1},
		{tcVerdict, 99, 60, "TC_ACT(99)", true, -1},
		{filterVerdict(ethernetHeader), 0, 60, "dropped", false, 0},
		{filterVerdict(ethernetHeader), 45, 60, "truncated", true, 59},
		{filterVerdict(ethernetHeader), 46, 60, "accepted", true, 60},
		{filterVerdict(ethernetHeader), -1, 60, "accepted", true, 60},
		{filterVerdict(0), 46, 60, "truncated", true, 46},
		{cgroupVerdict, 0, 60, "denied", false, 0},
		{cgroupVerdict, 1, 60, "allowed", true, 60},
		{cgroupVerdict, 2, 60, "denied", false, 0},
		{cgroupVerdict, 3, 60, "allowed", true, 60},
		{netfilterVerdict, 0, 60, "NF_DROP", false, 0},
		{netfilterVerdict, 1, 60, "NF_ACCEPT", true, 60},
	} {
		v := c.of(uint32(c.ret), c.size)
		if v.name != c.name || v.pass != c.pass || v.keep != c.keep {
			t.Errorf("%d: %q, passes %v, keeps %d; want %q, %v, %d", c.ret, v.name, v.pass, v.keep, c.name, c.pass, c.keep)
		}
	}
}
