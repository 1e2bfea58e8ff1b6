package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/serve"
)

// TestDefaultMachine: commands that are told no machine ask that of a skep serve that was told no path, and nobody
// else's.
func TestDefaultMachine(t *testing.T) {
	oracle.Need(t, "interception of system calls", serve.Available())
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	asked := []string{"map show", "ip link show", "net show", "tc qdisc show"}
	refused := func(when string) {
		t.Helper()
		for _, line := range asked {
			if r := command(t, self(t), strings.Fields(line)...); r.code == 0 || !strings.Contains(r.err, "no machine to ask: begin one with skep serve") {
				t.Errorf("%s: %s: %+v", when, line, r)
			}
		}
	}
	refused("before")
	if r := command(t, self(t), "map"); r.code != 0 || !strings.Contains(r.out, "Usage:") {
		t.Errorf("a noun alone: %+v", r)
	}
	startMachine(t)
	for _, line := range asked {
		if r := command(t, self(t), strings.Fields(line)...); r.code != 0 || r.err != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	if r := command(t, self(t), "map", "create", "/sys/fs/bpf/m", "type", "array", "key", "4", "value", "4", "entries", "1", "name", "mine"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r := command(t, self(t), "map"); !strings.Contains(r.out, "name mine") {
		t.Errorf("a noun alone: %+v", r)
	}
	if r := command(t, self(t), "exec", "--", self(t), "map", "show"); r.code != 0 || r.out != "" {
		t.Errorf("skep exec is not fresh: %+v", r)
	}
	if err := os.Chmod(filepath.Join(dir, "skep"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused("in a directory of many")
	if r := command(t, self(t), "serve"); r.code != 1 || !strings.Contains(r.err, "it is not a directory that is this user's alone (mode 0700): name another path") {
		t.Errorf("%+v", r)
	}
}

// TestDownIsSaid: where packets get nowhere because a device is down, a line says so, once until it comes up.
func TestDownIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine")
	said := startMachine(t, path)
	t.Setenv("SKEP_MACHINE", path)
	web, err := filepath.Abs("../../examples/captures/web.pcap")
	if err != nil {
		t.Fatal(err)
	}
	run := func(line string) string {
		t.Helper()
		r := command(t, self(t), strings.Fields(line)...)
		if r.code != 0 {
			t.Fatalf("%s: %+v", line, r)
		}
		return r.out
	}
	show := func(name string) string { return run("ip link show dev " + name) }
	run("ip link add cap0 type pcap in " + web)
	run("ip link add em1 type veth peer name em2")
	run("tc qdisc add dev cap0 clsact")
	all := []string{"bytecode", "1,6 0 0 65535"}
	if r := command(t, self(t), append(append(strings.Fields("tc filter add dev cap0 ingress bpf"), all...), strings.Fields("action mirred egress redirect dev em1")...)...); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if out, want := show("cap0"), "\n    web.pcap waits: skep ip link set dev cap0 up\n"; !strings.Contains(out, want) {
		t.Errorf("%s\n%q is not there", out, want)
	}
	run("ip link set dev em1 up")
	run("ip link set dev cap0 up")
	if out := show("cap0"); strings.Contains(out, "waits") {
		t.Error(out)
	}
	if line, want := <-said, "skep serve: em1 drops what is sent: em2 is down: skep ip link set dev em2 up"; line != want {
		t.Errorf("%q, want %q", line, want)
	}
	run("ip link delete em1")
	select {
	case line := <-said:
		t.Errorf("said again: %q", line)
	default:
	}
}

// TestMachineErrors: what a machine refuses is said in one line that tells what is possible.
func TestMachineErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine")
	startMachine(t, path)
	t.Setenv("SKEP_MACHINE", path)
	for _, row := range []struct {
		args string // a comma stands for an empty word
		code int
		want string
	}{
		{"map create /sys/fs/bpf/m type array key 4 value 4 entries 1 name ü", 1, `invalid argument: name "ü": letters, digits, _ and . are possible`},
		{"map create /tmp/m type array key 4 value 4 entries 1 name m", 1, "operation not permitted: a machine's names begin with /sys/fs/bpf/"},
		{"ip link add , type veth", 2, `"" is not a valid device name`},
		{"ip link set lo name ,", 2, "name: its value is missing"},
		{"tc filter add dev lo sideways bpf da bytecode 1", 2, `"sideways" is no hook: there are ingress and egress`},
	} {
		words := strings.Fields(row.args)
		for i := range words {
			words[i] = strings.Trim(words[i], ",")
		}
		r := command(t, self(t), words...)
		if r.code != row.code || !strings.Contains(r.err, row.want) || strings.Count(r.err, "\n") != 1 || r.out != "" {
			t.Errorf("skep %s: %+v", row.args, r)
		}
	}
}
