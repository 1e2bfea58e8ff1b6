package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep/internal/oracle"
)

// pins lists the machine's named objects.
func pins(t *testing.T) []string {
	t.Helper()
	out := strings.Fields(must(t, "exec -- find /sys/fs/bpf -type f"))
	slices.Sort(out)
	return out
}

// mapsNamed counts the machine's maps of each name.
func mapsNamed(t *testing.T) map[string]int {
	t.Helper()
	oracle.Tool(t, "bpftool")
	var all []struct{ Name string }
	if err := json.Unmarshal([]byte(must(t, "exec -- bpftool -j map show")), &all); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, m := range all {
		n[m.Name]++
	}
	return n
}

// TestLegacyMaps: struct bpf_elf_map's pinning, found again by the next object and
// refused where it differs, and a program that its section's name puts into an array.
func TestLegacyMaps(t *testing.T) {
	served(t)
	const dir = "testdata/iproute/"
	must(t, "ip link add a type pcap in ../../examples/captures/web.pcap")
	must(t, "tc qdisc add dev a clsact")
	must(t, "tc filter add dev a ingress bpf da obj %slegacy1.o", dir)
	all := pins(t)
	if len(all) != 3 || all[1] != "/sys/fs/bpf/tc/globals/everyones" || all[2] != "/sys/fs/bpf/tc/globals/jumps" ||
		!strings.HasPrefix(all[0], "/sys/fs/bpf/tc/") || !strings.HasSuffix(all[0], "/own") || len(all[0]) != len("/sys/fs/bpf/tc//own")+40 {
		t.Errorf("%q", all)
	}
	must(t, "tc filter add dev a egress bpf da obj %slegacy1.o", dir)
	if n := mapsNamed(t); n["everyones"] != 1 || n["own"] != 1 || n["jumps"] != 1 || n["nowhere"] != 2 {
		t.Error(n)
	}
	_, errs, code := skep("tc", "filter", "add", "dev", "a", "ingress", "bpf", "da", "obj", dir+"legacy2.o")
	if code == 0 || !strings.Contains(errs, "couldn't reuse pinned map at '/sys/fs/bpf/tc/globals/everyones': parameter mismatch: max elems 2 (obj) != 1 (pin)") {
		t.Errorf("%d %s", code, errs)
	}
	if n := mapsNamed(t); n["everyones"] != 1 || n["own"] != 1 || n["nowhere"] != 2 {
		t.Errorf("a refused object leaves %v", n)
	}
	if l := received(t, "a"); l.Stats.TC["ingress TC_ACT_SHOT"] != 74 {
		t.Errorf("%v: the tail of section 42/3 drops all", l.Stats.TC)
	}
}

// TestLoaderAsIproute2 compares where pinned maps appear, how they are found again
// and what is refused with Debian's iproute2.
func TestLoaderAsIproute2(t *testing.T) {
	served(t)
	t.Chdir("../../examples")
	k := newIproute2(t)
	k.compare(`
ip link add em1 type veth peer name em2
tc qdisc add dev em1 clsact
tc filter add dev em1 ingress bpf da obj grafting/dispatch.o sec tc
tc filter add dev em1 egress bpf da obj grafting/dispatch.o sec tc
tc filter show dev em1 egress
tc exec bpf graft /sys/fs/bpf/tc/globals/jump key 0 obj grafting/first.o sec tc
tc exec bpf graft m:globals/jump key 0 obj grafting/second.o sec tc
tc exec bpf graft /sys/fs/bpf/tc/globals/jump obj grafting/second.o sec tc
tc exec bpf graft /sys/fs/bpf/tc/globals/jump key 7 obj grafting/second.o sec tc
tc exec bpf graft /sys/fs/bpf/tc/globals/nosuch key 0 obj grafting/second.o sec tc
tc exec bpf graft /sys/fs/bpf/tc/globals/served_by key 0 obj grafting/second.o sec tc
tc filter add dev em1 egress bpf da obj sharing/egress.o sec tc
tc filter add dev em1 ingress bpf da obj sharing/ingress.o sec tc
tc exec bpf frob
`)
	theirs, _, _ := k.run("find", "/sys/fs/bpf/tc", "-type", "f")
	want := strings.Fields(theirs)
	slices.Sort(want)
	if got := pins(t); !slices.Equal(got, want) {
		t.Errorf("iproute2 pins %q, skep %q", want, got)
	}
}

func init() {
	// counts prints the values of an array of 64-bit numbers, by its name.
	clients["counts"] = func() error {
		m, err := ebpf.LoadPinnedMap(os.Getenv("SKEP_CLI_MAP"), nil)
		if err != nil {
			return err
		}
		for key := range m.MaxEntries() {
			value := make([]byte, m.ValueSize())
			if err := m.Lookup(key, &value); err != nil {
				return err
			}
			for ; len(value) > 0; value = value[8:] {
				fmt.Println(binary.NativeEndian.Uint64(value))
			}
		}
		return nil
	}
}

// counts reads an array of the machine.
func counts(t *testing.T, path string) []uint64 {
	t.Helper()
	t.Setenv("SKEP_CLI_MAP", path)
	t.Setenv(clientEnv, "counts")
	out, errs, code := skep("exec", "--", "/proc/self/exe")
	os.Unsetenv(clientEnv)
	if code != 0 {
		t.Fatal(errs)
	}
	var all []uint64
	for _, line := range strings.Fields(out) {
		var n uint64
		fmt.Sscan(line, &n)
		all = append(all, n)
	}
	return all
}

// writeCapture writes a capture of so many frames of 60 bytes.
func writeCapture(t *testing.T, path string, frames int) {
	t.Helper()
	le := binary.LittleEndian
	var b bytes.Buffer
	head := le.AppendUint32(nil, 0xa1b2c3d4)
	head = le.AppendUint32(head, 4<<16|2)
	for _, v := range []uint32{0, 0, 65535, 1} {
		head = le.AppendUint32(head, v)
	}
	b.Write(head)
	frame := make([]byte, 16+60)
	le.PutUint32(frame[8:], 60)
	le.PutUint32(frame[12:], 60)
	frame[16+12], frame[16+13] = 0x88, 0xb5
	for range frames {
		b.Write(frame)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGraftUnderLoad exchanges a program behind a tail call while packets come
// over a veth pair: each one is served by the old program or the new one.
func TestGraftUnderLoad(t *testing.T) {
	served(t)
	const frames, ex = 200_000, "../../examples/grafting/"
	capture := t.TempDir() + "/load.pcap"
	writeCapture(t, capture, frames)
	must(t, "ip link add load type pcap in %s", capture)
	must(t, "ip link add em1 type veth peer name em2")
	must(t, "ip link set em1 up")
	must(t, "ip link set em2 up")
	must(t, "tc qdisc add dev load clsact")
	must(t, "tc filter add dev load ingress bpf bytecode '1,6 0 0 1' classid 1:1 action mirred egress redirect dev em1")
	must(t, "tc qdisc add dev em2 clsact")
	must(t, "tc filter add dev em2 ingress bpf da obj %sdispatch.o sec tc", ex)
	graft := func(name string) {
		must(t, "tc exec bpf graft /sys/fs/bpf/tc/globals/jump key 0 obj %s%s.o sec tc", ex, name)
	}
	graft("first")
	must(t, "ip link set load up")
	grafts := 0
	for !devices(t)["load"].Ended {
		graft("second")
		graft("first")
		grafts += 2
	}
	l := devices(t)
	for l["em2"].Stats.RxPackets < l["em1"].Stats.TxPackets { // what is still in the cable
		l = devices(t)
	}
	n := counts(t, "/sys/fs/bpf/tc/globals/served_by")
	lost := l["em1"].Stats.TxDropped // found the cable full, before any program
	if n[0]+n[1]+lost != frames || n[2] != 0 || l["em2"].Stats.RxDropped != 0 {
		t.Errorf("of %d packets %d were served by the first program, %d by the second, %d by neither; %d found no room", frames, n[0], n[1], n[2], lost)
	}
	if grafts < 4 || n[0] == 0 || n[1] == 0 {
		t.Errorf("%d grafts, %d and %d packets: this says little", grafts, n[0], n[1])
	}
	t.Logf("%d grafts; %d and %d packets, %d found no room", grafts, n[0], n[1], lost)
}

// TestSharing: the example's two objects share a map through its name.
func TestSharing(t *testing.T) {
	served(t)
	const ex = "../../examples/sharing/"
	must(t, "ip link add in type pcap in ../../examples/captures/web.pcap")
	must(t, "ip link add out type pcap")
	must(t, "ip link set out up")
	must(t, "tc qdisc add dev out clsact")
	must(t, "tc qdisc add dev in clsact")
	must(t, "tc filter add dev out egress bpf da obj %segress.o sec tc", ex)
	must(t, "tc filter add dev in ingress prio 1 bpf obj %singress.o sec tc", ex)
	must(t, "tc filter add dev in ingress prio 2 bpf obj testdata/iproute/progs.o sec p2 action mirred egress redirect dev out")
	received(t, "in")
	if n := counts(t, "/sys/fs/bpf/tc/globals/shared"); !slices.Equal(n, []uint64{74, 23504}) {
		t.Error(n)
	}
	lines := traced(t)
	if len(lines) != 74 || lines[0].Text != "0 packets, 0 bytes have left" || !strings.HasPrefix(lines[73].Text, "73 packets, ") {
		t.Errorf("%d lines: %q … %q", len(lines), lines[0].Text, lines[len(lines)-1].Text)
	}
}

// TestLoadedTypes: what ip and tc load is shown with its types and lines, as what bpf(2) is given is.
func TestLoadedTypes(t *testing.T) {
	oracle.Tool(t, "bpftool")
	served(t)
	must(t, "ip link add a type veth peer name b")
	must(t, "ip link set a xdp obj ../../examples/firewall/firewall.o sec xdp")
	must(t, "exec -- bpftool prog load ../../examples/firewall/firewall.o /sys/fs/bpf/other")
	var all []struct {
		ID    int
		BTFID int `json:"btf_id"`
	}
	if err := json.Unmarshal([]byte(must(t, "exec -- bpftool -j prog show name firewall")), &all); err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	dumps := [2]string{}
	for i, p := range all {
		if p.BTFID == 0 {
			t.Errorf("program %d has no types", p.ID)
		}
		dumps[i] = digits.ReplaceAllString(must(t, "exec -- bpftool prog dump xlated id %d linum", p.ID), "N")
	}
	if dumps[0] != dumps[1] || !strings.Contains(dumps[0], "int firewall(struct xdp_md * ctx):") {
		t.Errorf("loaded by ip:\n%s\nby bpftool:\n%s", dumps[0], dumps[1])
	}
	var maps []struct {
		Name  string
		BTFID int `json:"btf_id"`
	}
	if err := json.Unmarshal([]byte(must(t, "exec -- bpftool -j map show")), &maps); err != nil {
		t.Fatal(err)
	}
	typed := map[string]int{}
	for _, m := range maps {
		if m.BTFID != 0 {
			typed[m.Name]++
		}
	}
	for name, n := range typed {
		if n != 2 {
			t.Errorf("map %s has types in %d of 2 loads", name, n)
		}
	}
	if typed["rules"] != 2 {
		t.Error(typed)
	}
	must(t, "ip link set a xdp off")
	must(t, "exec -- rm /sys/fs/bpf/other")
	if out := must(t, "exec -- bpftool btf show"); strings.Contains(out, "<anon>") {
		t.Errorf("types are left: %s", out)
	}
}
