//go:build linux

package cli

import (
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/serve"
)

// FuzzIproute has ip and tc read lines: without a machine each ends in an error of one
// line, or in help.
func FuzzIproute(f *testing.F) {
	for _, line := range []string{
		"ip link add name a index 7 mtu 1400 address 02:00:00:00:00:01 type veth peer name b address 02:00:00:00:00:02",
		"ip link add c type pcap in x out y", "ip link add type netkit blackhole peer q forward", "ip link add t type tap dev h queues 2",
		"ip -s -d -j -p -br -o -force link show dev a up type veth", "ip link set dev a up mtu 9000 name b xdp off", "ip link set a xdpgeneric obj nosuch.o sec p verbose",
		"tc qdisc add dev a clsact", "tc qdisc show", "tc filter add dev a ingress protocol 802.1q prio 7 handle 0x3 bpf da obj nosuch.o sec p1 verb",
		"tc filter replace dev a parent ffff:fff3 bpf bytecode 1,6_0_0_1 classid 1:5 action mirred egress mirror dev b pipe action bpf pinned /x drop action gact action ok",
		"tc filter show dev a egress prio 3 chain 0", "tc exec bpf graft m:globals/x key 3 type act object-pinned /x", "tc help", "ip link help",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "ip" && words[0] != "tc" || strings.Contains(line, "machine") || strings.ContainsAny(line, "/\x00") {
			return // it may ask nobody, and open no file of the system
		}
		t.Setenv(serve.MachineEnv, "")
		t.Chdir(t.TempDir())
		out, errs, code := skep(words...)
		if code == 0 && out == "" || code != 0 && (strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "skep "+words[0]+": ")) {
			t.Errorf("%q: exit code %d, %q, %q", line, code, out, errs)
		}
	})
}
