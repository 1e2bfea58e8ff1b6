package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// served starts a machine with devices, which commands of the test ask from then on.
func served(t *testing.T) *bpfsys.System {
	t.Helper()
	oracle.Need(t, "interception of system calls", serve.Available())
	trace := serve.NewTracePipe()
	devices, sys, done, err := rtnl.NewSystem(serve.MachineOptions{Trace: trace}, nil, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	verbs := devices.Verbs()
	verbs[serve.TraceVerb] = trace.Serve
	path := filepath.Join(t.TempDir(), "machine")
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- serve.Listen(&serve.ListenOptions{System: sys, Path: path, Caps: bpfsys.AllCaps, Verbs: verbs, Trace: trace, Stop: stop, Ready: func() { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Setenv(serve.MachineEnv, path)
	t.Cleanup(func() {
		close(stop)
		if err := errors.Join(<-ended, done()); err != nil {
			t.Error(err)
		}
	})
	return sys
}

// skep runs a command line and returns what it printed.
func skep(args ...string) (out, errs string, code int) {
	var o, e bytes.Buffer
	code = Main(args, strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}

// must runs a command line that has to succeed.
func must(t *testing.T, line string, args ...any) string {
	t.Helper()
	words := split(fmt.Sprintf(line, args...))
	out, errs, code := skep(words...)
	if code != 0 {
		t.Fatalf("skep %s: exit code %d, %s", fmt.Sprintf(line, args...), code, errs)
	}
	return out
}

// What is no fact but a circumstance: numbers of programs, drawn addresses, counts of time.
var circumstances = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`\bid \d+`), "id N"},
	{regexp.MustCompile(`"id": ?\d+`), `"id":N`},
	{regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`), "ADDRESS"},
	{regexp.MustCompile(` +\d+ +\d+ +0 +\d+ +0 +0 `), "COUNTS"},
	{regexp.MustCompile(`"(bytes|packets|dropped)": ?\d+`), `"$1":N`},
	// A time of no tick is not printed at all.
	{regexp.MustCompile(` (installed|used|firstused) \d+ sec`), ""},
	{regexp.MustCompile(`,\s*"(installed|last_used|first_used)": ?\d+`), ""},
	{regexp.MustCompile(`Sent \d+ bytes \d+ pkt`), "Sent N"},
}

func normal(text string) string {
	for _, c := range circumstances {
		text = c.find.ReplaceAllString(text, c.put)
	}
	return text
}

// iproute2 is Debian's ip and tc in a network namespace of the test's own.
type iproute2 struct {
	t    *testing.T
	work chan func()
}

// newIproute2 makes the namespaces, on a thread that ends with them. Commands run
// where the test is now.
func newIproute2(t *testing.T) *iproute2 {
	t.Helper()
	oracle.Tool(t, "ip")
	oracle.Tool(t, "tc")
	k := &iproute2{t, make(chan func())}
	up := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		up <- errors.Join(unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS),
			unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, ""))
		for f := range k.work {
			f()
		}
	}()
	oracle.Need(t, "a network namespace", <-up)
	t.Cleanup(func() { close(k.work) })
	return k
}

// do calls f there.
func (k *iproute2) do(f func()) {
	done := make(chan struct{})
	k.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// run runs a command there.
func (k *iproute2) run(args ...string) (out, errs string, ok bool) {
	k.do(func() {
		cmd := exec.Command(args[0], args[1:]...)
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		ok = cmd.Run() == nil
		out, errs = o.String(), e.String()
	})
	return out, errs, ok
}

// compare runs lines of ip and tc there and here: what they print, and whether
// they succeed, has to be the same.
func (k *iproute2) compare(lines string) {
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		words := split(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if words[0] == "ip" && slices.Contains(words, "show") {
			k.settle()
		}
		want, why, ok := k.run(words...)
		got, errs, code := skep(words...)
		if ok != (code == 0) {
			k.t.Errorf("%s: iproute2 succeeds: %v (%s); skep: %d (%s)", line, ok, why, code, errs)
			continue
		}
		if d := cmp.Diff(normal(want), normal(got)); d != "" {
			k.t.Errorf("%s: -iproute2 +skep\n%s", line, d)
		}
		if !ok { // the words of the kernel's refusals are told on
			if text, isExt := strings.CutPrefix(why, "Error: "); isExt && !ownWords[line] {
				text, _, _ = strings.Cut(text, "\n")
				if !strings.Contains(errs, strings.TrimSuffix(text, ".")) {
					k.t.Errorf("%s: iproute2 says %q, skep %q", line, why, errs)
				}
			}
		}
	}
}

// settle has the kernel bring its devices' states up to date: it follows carriers
// later, and a list shows what is known by then, but who asks for one device gets
// its state as it is (rtnl_getlink).
func (k *iproute2) settle() {
	out, _, _ := k.run("ip", "-br", "link", "show")
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(strings.Fields(line)[0], "@")
		k.run("ip", "link", "show", "dev", name)
	}
}

// ownWords are lines that a kernel refuses in words that tell nobody what is wrong.
var ownWords = map[string]bool{
	"tc qdisc del dev em1 clsact": true, // Invalid handle
	"tc qdisc add dev em1 frob":   true, // Handle cannot be zero
}

// split parts a line at blanks outside of single quotes.
func split(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// TestIPAsIproute2 compares what ip link prints, and what it refuses, with
// Debian's iproute2 on the live kernel.
func TestIPAsIproute2(t *testing.T) {
	served(t)
	t.Chdir("testdata/iproute")
	k := newIproute2(t)
	k.compare(`
ip link add em1 type veth peer name em2
ip link show
ip link show em1
ip link set em1 up
ip link show em1
ip link show dev em2
ip link set dev em2 up
ip link set em1 down
ip link show
ip link set em1 up
ip link show up
ip -o link show dev em1
ip -br link show dev em1
ip -s link show dev em1
ip -j link show
ip -j -p -s link show dev em1
ip link set em1 mtu 1400
ip link set em1 address 02:00:00:00:00:01
ip link show em1
ip link set dev em1 xdp obj progs.o sec xdp
ip link show em1
ip -o link show em1
ip -j -p link show em1
ip link set dev em1 xdp obj progs.o sec xdp
ip -force link set dev em1 xdp obj progs.o sec xdp/other
ip link show em1
ip link set dev em1 xdpgeneric obj progs.o sec xdp
ip link set dev em1 xdpgeneric off
ip link set dev em1 xdp off
ip link set dev em1 xdp off
ip link show em1
ip link set dev em1 xdpgeneric obj progs.o sec xdp
ip link show em1
ip -j link show em1
ip link set dev em1 xdpdrv obj progs.o sec xdp
ip link set dev em1 xdpgeneric off
ip link set dev em1 xdpdrv obj progs.o sec xdp
ip link show em1
ip link set dev em1 xdpdrv off
ip link set dev em1 xdp obj progs.o sec nosuch
ip link set dev em1 xdp obj nofile.o sec xdp
ip link set dev em1 xdp pinned /sys/fs/bpf/nosuch
ip link set dev nodev up
ip link show dev nodev
ip link add em1 type veth peer name em9
ip link add em7 type nosuch
ip link set
ip link frob
ip frob
ip link del dev em2
ip link show
ip link del dev em2
`)
}

// TestTCAsIproute2 does the same with qdiscs, filters and their actions.
func TestTCAsIproute2(t *testing.T) {
	served(t)
	t.Chdir("testdata/iproute")
	k := newIproute2(t)
	k.compare(`
ip link add em1 type veth peer name em2
tc qdisc show
ip link set em1 up
ip link set em2 up
tc qdisc show dev em1
tc qdisc add dev em1 clsact
tc qdisc add dev em1 clsact
tc qdisc replace dev em1 clsact
tc qdisc show dev em1
tc -j qdisc show dev em1
tc -s qdisc show dev em1
tc -j -s -p qdisc show dev em1
tc filter add dev em1 ingress bpf da obj progs.o sec p1
tc filter add dev em1 ingress bpf direct-action object-file progs.o section p2
tc filter add dev em1 ingress bpf da obj progs.o
tc filter add dev em1 ingress bpf da obj progs.o sec p9
tc filter add dev em1 ingress bpf da obj nofile.o sec p1
tc filter add dev em1 ingress bpf da object-pinned /sys/fs/bpf/nosuch
tc filter add dev em1 egress protocol ip prio 7 handle 3 bpf da obj progs.o sec p2
tc filter add dev em1 egress protocol ip prio 7 handle 3 bpf da obj progs.o sec p2
tc filter add dev em1 egress protocol ip prio 7 handle 0x12 bpf da obj progs.o sec p1
tc filter add dev em1 egress protocol ip prio 7 bpf da obj progs.o sec p1
tc filter add dev em1 egress protocol ipv6 prio 7 handle 4 bpf da obj progs.o sec p2
tc filter add dev em1 egress protocol arp prio 8 bpf obj progs.o sec p1 classid 1:5
tc filter add dev em1 egress protocol 0x88b5 prio 9 bpf obj progs.o sec p1 classid 1:
tc filter add dev em1 egress protocol 802.1q prio 10 bpf obj progs.o sec p1 flowid :7
tc filter add dev em1 egress protocol ipv6 prio 11 bpf obj progs.o sec p1 flowid ffff:ffff
tc filter show dev em1 ingress
tc filter show dev em1 egress
tc filter show dev em1 parent ffff:fff3
tc filter show dev em1 egress prio 7
tc filter show dev em1 egress protocol arp
tc -s filter show dev em1 egress
tc -j filter show dev em1 egress
tc -j -p filter show dev em1 ingress
tc filter get dev em1 egress protocol arp prio 8 handle 1 bpf
tc filter show dev em1
tc filter replace dev em1 egress protocol ip prio 7 handle 3 bpf da obj progs.o sec p1
tc filter change dev em1 egress protocol ip prio 7 handle 3 bpf da obj progs.o sec classifier
tc filter change dev em1 egress protocol ip prio 99 handle 3 bpf da obj progs.o sec p2
tc filter change dev em1 egress protocol ip prio 7 handle 77 bpf da obj progs.o sec p2
tc filter replace dev em1 egress protocol ip prio 60 handle 2 bpf da obj progs.o sec p1
tc filter replace dev em1 egress protocol ip prio 60 bpf da obj progs.o sec p2
tc filter show dev em1 egress
tc filter del dev em1 egress prio 99
tc filter del dev em1 egress protocol ip prio 7 handle 9 bpf
tc filter del dev em1 egress protocol ip prio 7 handle 3 bpf
tc filter del dev em1 egress protocol all prio 8
tc filter del dev em1 egress prio 8
tc filter show dev em1 egress
tc filter del dev em1 ingress
tc filter show dev em1 ingress
tc filter add dev em1 ingress bpf bytecode '1,6 0 0 4294967295' flowid 1:1
tc filter add dev em1 ingress bpf bytecode '4,40 0 0 12,21 0 1 2054,6 0 0 65535,6 0 0 0' flowid 1:1 action mirred egress redirect dev em2
tc filter add dev em1 ingress bpf bytecode '1,6 0 0 0' flowid 1:1 action mirred ingress mirror dev em2
tc filter add dev em1 ingress bpf bytecode '1,6 0 0' flowid 1:1
tc filter add dev em1 ingress bpf bytecode '1,99 0 0 0' flowid 1:1
tc filter add dev em1 ingress bpf obj progs.o sec p1 classid 1:1 action mirred egress mirror dev em2 pipe action mirred egress redirect dev em2
tc filter add dev em1 ingress bpf obj progs.o sec p1 classid 1:1 action mirred egress mirror dev em2 drop
tc filter add dev em1 ingress bpf obj progs.o sec p1 classid 1:1 action mirred egress mirror dev nodev
tc filter show dev em1 ingress
tc -s filter show dev em1 ingress
tc -j filter show dev em1 ingress
tc -j -s -p filter show dev em1 ingress
tc qdisc del dev em1 ingress
tc qdisc del dev em1 clsact
tc qdisc del dev em1 clsact
tc filter show dev em1 ingress
tc filter add dev em1 ingress bpf da obj progs.o sec p1
tc qdisc add dev nodev clsact
tc filter add dev nodev ingress bpf da obj progs.o sec p1
tc filter show dev nodev ingress
tc qdisc add dev em1 ingress
tc qdisc add dev em1 clsact
tc qdisc show dev em1
tc -j qdisc show
tc filter add dev em1 parent ffff: bpf da obj progs.o sec p1
tc filter show dev em1 ingress
tc filter show dev em1 parent ffff:
tc -j filter show dev em1 ingress
tc qdisc del dev em1 ingress
tc qdisc add dev em1 frob
tc frob
tc filter frob
tc filter add dev
tc filter add dev em1 ingress bpf frob
tc filter add dev em1 ingress bpf da
`)
}
