package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/serve"
)

// bpftoolRows are the rows of docs/bpf.md's table of bpftool's subcommands, by what
// stands in the first column: a script of its commands, and what it prints.
var bpftoolRows = []struct {
	row    string
	script string
	want   string // a regular expression
	code   int
}{
	{row: "map create, show", script: `
bpftool map create /sys/fs/bpf/m type hash key 4 value 8 entries 16 name m
bpftool map create /sys/fs/bpf/o type array_of_maps key 4 value 4 entries 2 name o inner_map name m
bpftool map show; bpftool -j map show pinned /sys/fs/bpf/m`,
		want: `^1: hash  name m  flags 0x0\n\tkey 4B  value 8B  max_entries 16  memlock \d+B\n2: array_of_maps  name o  (?s:.*)\n\{"id":1,"type":"hash","name":"m",`},
	{row: "map update, lookup, getnext, dump, delete", script: `
bpftool map create /sys/fs/bpf/m type hash key 4 value 4 entries 16 name m
bpftool map update name m key 1 0 0 0 value 2 0 0 0
bpftool map lookup name m key 1 0 0 0
bpftool map getnext name m
bpftool map dump name m
bpftool map delete name m key 1 0 0 0
bpftool map dump name m`,
		want: `^key: 01 00 00 00  value: 02 00 00 00\nkey: None\nnext key:\n01 00 00 00\nkey: 01 00 00 00  value: 02 00 00 00\nFound 1 element\nFound 0 elements\n$`},
	{row: "map push, pop, peek, enqueue, dequeue", script: `
bpftool map create /sys/fs/bpf/q type queue key 0 value 1 entries 4 name q
bpftool map create /sys/fs/bpf/s type stack key 0 value 1 entries 4 name s
for m in q s; do bpftool map push name $m value 1; bpftool map enqueue name $m value 2; bpftool map peek name $m; bpftool map pop name $m; bpftool map dequeue name $m; done`,
		want: `^value: 01\nvalue: 01\nvalue: 02\nvalue: 02\nvalue: 02\nvalue: 01\n$`},
	{row: "map pin, freeze", script: `
bpftool map create /sys/fs/bpf/m type hash key 4 value 4 entries 16 name m
bpftool map pin name m /sys/fs/bpf/n
bpftool map freeze name m
bpftool -f map show | grep pinned | sort
! bpftool map update name m key 1 0 0 0 value 2 0 0 0`,
		want: `^\tpinned /sys/fs/bpf/m\n\tpinned /sys/fs/bpf/n\nError: update failed: Operation not permitted\n$`},
	{row: "map event_pipe", script: `
bpftool prog loadall events.o /sys/fs/bpf/p pinmaps /sys/fs/bpf/m
stdbuf -o0 bpftool map event_pipe pinned /sys/fs/bpf/m/events > out &
until grep -q '66 72 6f 6d' out; do bpftool prog run pinned /sys/fs/bpf/p/report data_in packet > run; done
kill $!; wait $!; head -n 2 out`,
		want: `== @\d+\.\d{9} CPU: \d+ index: \d+ =====\n66 72 6f 6d 20 61 20 70`},
	{row: "prog load, loadall, show", script: `
bpftool prog load objects.o /sys/fs/bpf/one
bpftool prog loadall objects.o /sys/fs/bpf/all pinmaps /sys/fs/bpf/maps
ls /sys/fs/bpf/all /sys/fs/bpf/maps
bpftool prog show pinned /sys/fs/bpf/one`,
		want: `a_name_longer_than_fifteen\nsecond\n(?s:.*)\njumps\n(?s:.*): xdp  name a_name_longer_than_fifteen  tag [0-9a-f]{16}  gpl\n\tloaded_at .*uid 65534\n`},
	{row: "prog dump xlated", script: `
bpftool prog load objects.o /sys/fs/bpf/p
bpftool prog dump xlated pinned /sys/fs/bpf/p linum
bpftool prog dump xlated pinned /sys/fs/bpf/p opcodes | head -n 3
bpftool prog dump xlated pinned /sys/fs/bpf/p visual | head -n 1
bpftool prog dump xlated pinned /sys/fs/bpf/p file out; wc -c < out`,
		want: `^int a_name_longer_than_fifteen\(void \* ctx\):\n; int (?s:.*)digraph "DOT graph for eBPF program" \{\n\d{3}`},
	{row: "prog dump jited", script: `
bpftool prog load objects.o /sys/fs/bpf/p
bpftool prog dump jited pinned /sys/fs/bpf/p`,
		want: `(?i)no libbfd support|no JIT`, code: -1},
	{row: "prog pin, run", script: `
bpftool prog load objects.o /sys/fs/bpf/p
bpftool prog pin pinned /sys/fs/bpf/p /sys/fs/bpf/q
bpftool prog run pinned /sys/fs/bpf/q data_in packet data_out - repeat 2`,
		want: `0000000\s+0000 0000(?s:.*)Return value: 1, duration \(average\): \d+ns\n$`},
	{row: "prog attach, detach", script: `
bpftool prog loadall sockets.o /sys/fs/bpf/p pinmaps /sys/fs/bpf/m
bpftool prog attach pinned /sys/fs/bpf/p/verdict sk_skb_stream_verdict pinned /sys/fs/bpf/m/socks
bpftool prog detach pinned /sys/fs/bpf/p/verdict sk_skb_stream_verdict pinned /sys/fs/bpf/m/socks
! bpftool prog detach pinned /sys/fs/bpf/p/verdict sk_skb_stream_verdict pinned /sys/fs/bpf/m/socks
bpftool prog attach pinned /sys/fs/bpf/p/dissect flow_dissector
bpftool net show
bpftool prog detach pinned /sys/fs/bpf/p/dissect flow_dissector`,
		want: `^Error: failed prog detach from map\n(?s:.*)flow_dissector:\nid \d+\n`},
	{row: "prog tracelog", script: `
bpftool prog load objects.o /sys/fs/bpf/p
bpftool prog run pinned /sys/fs/bpf/p data_in packet > run
stdbuf -o0 bpftool prog tracelog > out &
until grep -q 'bpf_trace_printk: hi' out; do :; done
kill $!; wait $!; cat out`,
		want: `bpf_trace_printk: hi 226\n`},
	{row: "prog profile", script: `bpftool prog profile id 1 duration 1 cycles`, want: `command is not supported`},
	{row: "link show, pin, detach", script: `
bpftool iter pin iter.o /sys/fs/bpf/i
bpftool link show
bpftool link pin pinned /sys/fs/bpf/i /sys/fs/bpf/j
bpftool -f -j link show
bpftool link detach pinned /sys/fs/bpf/j`,
		want: `^\d+: iter  prog \d+  target_name bpf_map(?s:.*)"pinned":\["/sys/fs/bpf/.","/sys/fs/bpf/."\](?s:.*)failed link detach: Operation not supported`, code: 1},
	{row: "struct_ops show, dump", script: `bpftool struct_ops show; bpftool -j struct_ops dump`, want: `^\[\]`},
	{row: "btf show, dump", script: `
bpftool prog loadall objects.o /sys/fs/bpf/p pinmaps /sys/fs/bpf/m
bpftool btf show
bpftool btf dump prog pinned /sys/fs/bpf/p/second | head -n 1
bpftool btf dump map pinned /sys/fs/bpf/m/typed kv
bpftool btf dump map pinned /sys/fs/bpf/m/typed value format c | grep 'struct everything'`,
		want: `size \d+B  prog_ids \d+,\d+  map_ids (?s:.*)\[1\] (?s:.*)STRUCT 'inner'(?s:.*)\nstruct everything \{\n$`},
	{row: "gen skeleton, subskeleton, object, min_core_btf", script: `
bpftool gen skeleton objects.o | grep AUTOGENERATED
bpftool gen subskeleton attach.o | grep AUTOGENERATED
bpftool gen object linked.o objects.o attach.o && bpftool prog loadall linked.o /sys/fs/bpf/p && ls /sys/fs/bpf/p
bpftool gen min_core_btf /sys/kernel/btf/vmlinux out iter.o && bpftool btf dump file out | grep -c STRUCT`,
		want: `AUTOGENERATED(?s:.*)AUTOGENERATED(?s:.*)allow_ingress\n(?s:.*)pass_all\nsecond\n[1-9]`},
	{row: "feature probe (kernel, dev lo, full, macros), list_builtins", script: `
bpftool feature probe full > out; grep -E 'program_type (xdp|kprobe) |map_type (hash|ringbuf) ' out; grep -c trace_printk out
bpftool feature probe dev lo | head -n 1
bpftool feature probe macros prefix X_ | grep X_HAVE_XDP
bpftool feature list_builtins prog_types | head -n 2`,
		want: `program_type kprobe is available\neBPF program_type xdp is available\neBPF map_type hash is available\neBPF map_type ringbuf is available\n[1-9]\d*\nScanning system call availability...\n#define X_HAVE_XDP_PROG_TYPE\n(?s:.*)unspec\nsocket_filter\n`},
	{row: "feature probe unprivileged", script: `bpftool feature probe unprivileged | grep -E 'program_type (socket_filter|xdp) '`,
		want: `program_type socket_filter is available\neBPF program_type xdp is NOT available\n`},
	{row: "cgroup show, attach, detach", script: `
G=$CGROUP/skep-bpftool; mkdir $G
bpftool prog load attach.o /sys/fs/bpf/p
bpftool cgroup attach $G ingress pinned /sys/fs/bpf/p multi
bpftool cgroup show $G
bpftool cgroup show $G effective
bpftool cgroup detach $G ingress pinned /sys/fs/bpf/p
bpftool cgroup show $G
rmdir $G`,
		want: `allow_ingress(?s:.*)allow_ingress`},
	{row: "cgroup tree", script: `
bpftool prog load attach.o /sys/fs/bpf/p
bpftool cgroup attach $CGROUP ingress pinned /sys/fs/bpf/p multi
bpftool cgroup tree`,
		want: `^CgroupPath\nID .*\n/.*\n\d+ +cgroup_inet_ingress +multi +allow_ingress`},
	{row: "net show", script: `bpftool net show`, want: `^xdp:\n\ntc:\n\nflow_dissector:\n\n$`},
	{row: "net attach, detach", script: `
bpftool prog loadall attach.o /sys/fs/bpf/p
bpftool net attach xdpgeneric pinned /sys/fs/bpf/p/pass_all dev lo`,
		want: `skep: not served: netlink, whose devices are the kernel's; use skep ip link set (?s:.*)Error: interface xdpgeneric attach failed: Operation not permitted`, code: 255},
	{row: "perf show", script: `bpftool perf show; bpftool -j perf show`, want: `^\[\]`},
	{row: "iter pin", script: `
bpftool map create /sys/fs/bpf/m type hash key 4 value 4 entries 16 name m
bpftool iter pin iter.o /sys/fs/bpf/i
bpftool link show pinned /sys/fs/bpf/i`,
		want: `^\d+: iter  prog \d+  target_name bpf_map`},
	{row: "batch, version, help", script: `
echo "map create /sys/fs/bpf/m type hash key 4 value 4 entries 16 name m
map show" > commands
bpftool batch file commands; bpftool version | head -n 1; bpftool map help | head -n 1`,
		want: `hash  name m(?s:.*)bpftool v`},
}

// TestBpftoolAsNobody runs each of Debian's bpftool's subcommands under skep exec, as an
// ordinary user: what docs/bpf.md says of them is so, and nothing is left out.
func TestBpftoolAsNobody(t *testing.T) {
	oracle.Tool(t, "bpftool")
	oracle.Tool(t, "stdbuf")
	oracle.Need(t, "interception of system calls", serve.Available())
	dir, err := os.MkdirTemp("", "skep-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"objects.c", "events.c", "attach.c", "iter.c", "sockets.c"} {
		data, err := os.ReadFile(compile(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, strings.TrimSuffix(name, ".c")+".o"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "packet"), make([]byte, 64), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	rows := tableRows(t, "../../docs/bpf.md", "Debian's bpftool 7.1, as nobody")
	for _, r := range bpftoolRows {
		if !rows[r.row] {
			t.Errorf("docs/bpf.md has no row %q", r.row)
		}
		delete(rows, r.row)
		t.Run(strings.Fields(r.row)[0]+" "+strings.Trim(strings.Fields(r.row)[1], ","), func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "exec", "--", "sh", "-c", r.script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), asSkep+"=1", "CGROUP="+cgroup2(t))
			if os.Getuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, _ := cmd.CombinedOutput()
			code := cmd.ProcessState.ExitCode()
			if code != r.code && (r.code >= 0 || code == 0) {
				t.Errorf("exit code %d", code)
			}
			if !regexp.MustCompile(r.want).Match(out) {
				t.Errorf("printed:\n%s\nwant:\n%s", out, r.want)
			}
		})
	}
	for row := range rows {
		t.Errorf("docs/bpf.md has a row %q that nothing tries", row)
	}
}

// cgroup2 is where control groups are mounted.
func cgroup2(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	oracle.Need(t, "control groups", fmt.Errorf("cgroup2 is not mounted"))
	return ""
}

// tableRows are the first columns, which stand in backticks, of the table that follows a text.
func tableRows(t *testing.T, file, after string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), after)
	if !ok {
		t.Fatalf("%s has no %q", file, after)
	}
	_, rest, _ = strings.Cut(rest, "\n|")
	table, _, _ := strings.Cut(rest, "\n\n")
	rows := map[string]bool{}
	for line := range strings.Lines(table) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			rows[name] = true
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table after %q", file, after)
	}
	return rows
}
