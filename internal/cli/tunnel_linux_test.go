package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTunnels: packets of a capture go into a tunnel and come out of it at the other end of a cable, unchanged and with
// the key that a program gave them.
func TestTunnels(t *testing.T) {
	object := compile(t, "tunnel.c")
	const web = "../../examples/captures/web.pcap"
	for _, kind := range []string{"vxlan", "geneve"} {
		t.Run(kind, func(t *testing.T) {
			served(t)
			out := filepath.Join(t.TempDir(), "out.pcap")
			must(t, "ip link add in type pcap in %s", web)
			must(t, "ip link add out type pcap out %s", out)
			must(t, "ip link add em1 mtu 1600 type veth peer name em2")
			must(t, "ip link add tun1 type %s external dev em1 dstport 4789", kind)
			must(t, "ip link add tun2 type %s external dev em2 local 10.0.0.2 dstport 4789", kind)
			for _, dev := range []string{"out", "em1", "em2", "tun1", "tun2"} {
				must(t, "ip link set %s up", dev)
			}
			for _, dev := range []string{"in", "tun1", "tun2"} {
				must(t, "tc qdisc add dev %s clsact", dev)
			}
			must(t, "tc filter add dev in ingress bpf bytecode '1,6 0 0 1' classid 1:1 action mirred egress redirect dev tun1")
			must(t, "tc filter add dev tun1 egress bpf da obj %s sec set", object)
			must(t, "tc filter add dev tun2 ingress bpf obj %s sec get action mirred egress redirect dev out", object)
			in := received(t, "in")
			for devices(t)["out"].Stats.TxPackets < in.Stats.RxPackets {
			}
			opt := "0"
			if kind == "geneve" {
				opt = "4030201"
			}
			lines := traced(t)
			if len(lines) != 74 || lines[0].Text != "42 from a000001, "+opt {
				t.Errorf("%d lines, the first %q", len(lines), lines[0].Text)
			}
			show := must(t, "ip -d link show tun2")
			if !strings.Contains(show, kind+" external local 10.0.0.2 dev em2 dstport 4789") || !strings.Contains(show, "state UNKNOWN") {
				t.Error(show)
			}
			if text := must(t, "ip -j -d link show tun2"); !strings.Contains(text, `"info_data":{"external":true,"local":"10.0.0.2","link":"em2","port":4789}`) {
				t.Error(text)
			}
			must(t, "ip link del out")
			if want, got := packetsOf(t, web, 0), packetsOf(t, out, 0); !equal(want, got) {
				t.Error("what comes out is not what went in")
			}
			for line, says := range map[string]string{
				"ip link add tun3 type " + kind + " external dev em1 dstport 4789": "tun1 has port 4789 of em1",
				"ip link add tun3 type " + kind + " external dev nowhere":          "Cannot find device \"nowhere\"",
				"ip link add tun3 type " + kind + " external dev em1 local x":      "\"x\" is no address",
				"ip link add tun3 type " + kind + " dev em1":                       "only external",
				"ip link add tun3 type " + kind + " external":                      "say dev NAME",
				"ip link add tun3 type " + kind + " external dev tun1":             "is a tunnel itself",
				"ip link add tun3 type " + kind + " external dev em1 nexthop 1:2":  "no link address",
			} {
				if _, errs, code := skep(split(line)...); code == 0 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, says) {
					t.Errorf("%s: exit code %d, %s", line, code, errs)
				}
			}
			must(t, "ip link del em1")
			if all := devices(t); len(all) != 2 { // lo and in: tunnels go with what they lie over
				t.Errorf("%d devices are left", len(all))
			}
		})
	}
}
