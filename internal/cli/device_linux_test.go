package cli

import (
	"net"
	"strings"
	"testing"
)

// TestDevicesOfTheMachine: devices that programs and maps are made for are the machine's, not the host's.
func TestDevicesOfTheMachine(t *testing.T) {
	served(t)
	must(t, "ip link add mach0 type veth peer name mach1")
	object := "testdata/iproute/progs.o"
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ words, want string }{
		{"prog load " + object + " /sys/fs/bpf/p type xdp xdpmeta_dev mach0", "operation not supported"},
		{"prog load " + object + " /sys/fs/bpf/p type xdp offload_dev mach1", "operation not supported"},
		{"map create /sys/fs/bpf/m type hash key 4 value 4 entries 1 name x offload_dev mach0", "operation not supported"},
		{"prog load " + object + " /sys/fs/bpf/p offload_dev mach2", "device mach2: the machine has none of that name"},
		{"map create /sys/fs/bpf/m type hash key 4 value 4 entries 1 name x offload_dev mach2", "device mach2: the machine has none of that name"},
	} {
		if r := command(t, self(t), strings.Fields(c.words)...); r.code == 0 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %+v, want %s", c.words, r, c.want)
		}
	}
	for _, d := range all {
		if d.Name == "lo" {
			continue
		}
		words := "prog load " + object + " /sys/fs/bpf/p offload_dev " + d.Name
		if r := command(t, self(t), strings.Fields(words)...); r.code == 0 || !strings.Contains(r.err, "the machine has none") {
			t.Errorf("%s: %+v", words, r)
		}
	}
}
