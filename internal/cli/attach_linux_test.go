package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

// groupDir makes a control group, and one below it.
func groupDir(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	root := ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			root = f[1]
			break
		}
	}
	dir := filepath.Join(root, fmt.Sprintf("skep-test-cli-%d", os.Getpid()))
	sub := filepath.Join(dir, "sub")
	oracle.Need(t, "control groups", os.MkdirAll(sub, 0o755))
	t.Cleanup(func() {
		os.Remove(sub)
		os.Remove(dir)
	})
	return dir
}

// Programs are attached to control groups, and what is attached is shown, as by bpftool.
func TestControlGroupsAsBpftool(t *testing.T) {
	object := compile(t, "attach.c")
	dir := groupDir(t)
	systems(t, func(t *testing.T, s *system) {
		s.do(t, "prog", "loadall", object, s.dir+"/p")
		prog := s.dir + "/p/allow_ingress"
		s.same(t, "cgroup", "show", dir) // nothing
		s.do(t, "cgroup", "attach", dir, "ingress", "pinned", prog, "multi")
		s.do(t, "cgroup", "attach", dir+"/sub", "cgroup_inet_ingress", "pinned", prog, "multi")
		for _, words := range []string{"show " + dir, "show " + dir + " effective", "show " + dir + "/sub eff", "tree " + dir, "list " + dir + "/sub"} {
			s.inAllForms(t, append([]string{"cgroup"}, strings.Fields(words)...)...)
		}
		if out := s.do(t, "cgroup", "show", dir); !strings.Contains(out, " cgroup_inet_ingress multi           allow_ingress") {
			t.Errorf("show:\n%s", out)
		}
		s.do(t, "cgroup", "detach", dir+"/sub", "ingress", "pinned", prog)
		s.do(t, "cgroup", "detach", dir, "ingress", "pinned", prog)
		if out := s.do(t, "cgroup", "show", dir); out != "" {
			t.Errorf("still attached:\n%s", out)
		}
		for words, want := range map[string]string{
			"show /nowhere":                     "no such file",
			"attach " + dir + " sideways id 1":  `"sideways": there is no such attach type`,
			"show " + dir + " always":           `"always": nothing more was expected`,
			"detach " + dir + " ingress id 0":   "prog 0: ",
			"attach " + dir + " ingress pinned": "is missing",
		} {
			if r := s.skep(t, append([]string{"cgroup"}, strings.Fields(words)...)...); r.code == 0 || !strings.Contains(r.err, want) || strings.Count(r.err, "\n") != 1 {
				t.Errorf("cgroup %s: %+v", words, r)
			}
		}
	})
}

// XDP programs are attached to devices, and shown, as by bpftool.
func TestDevicesAsBpftool(t *testing.T) {
	object := compile(t, "attach.c")
	ip := oracle.Tool(t, "ip")
	systems(t, func(t *testing.T, s *system) {
		dev := fmt.Sprintf("skc%d", os.Getpid()%1000000)
		if s.live {
			out, err := exec.Command(ip, "link", "add", dev, "type", "veth").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			oracle.Need(t, "a pair of network devices", err)
			t.Cleanup(func() { exec.Command(ip, "link", "del", dev).Run() })
		} else {
			if r := command(t, self(t), "ip", "--machine", s.machine, "link", "add", dev, "type", "veth"); r.code != 0 {
				t.Fatal(r.err)
			}
		}
		s.do(t, "prog", "loadall", object, s.dir+"/p")
		prog := s.dir + "/p/pass_all"
		s.do(t, "net", "attach", "xdpgeneric", "pinned", prog, "dev", dev)
		if r := s.skep(t, "net", "attach", "xdpgeneric", "pinned", prog, "dev", dev); r.code != 1 || strings.Count(r.err, "\n") != 1 {
			t.Errorf("attached twice: %+v", r)
		}
		s.do(t, "net", "attach", "xdpg", "p", prog, "d", dev, "over")
		out := s.do(t, "net", "show", "dev", dev)
		if !strings.HasPrefix(out, "xdp:\n"+dev+"(") || !strings.Contains(out, ") generic id ") || !strings.HasSuffix(out, "\n\ntc:\n\nflow_dissector:\n\n") {
			t.Errorf("show:\n%s", out)
		}
		if s.live {
			s.inAllForms(t, "net", "show", "dev", dev)
			s.check(t)
		}
		s.do(t, "net", "detach", "xdpgeneric", "dev", dev)
		if out := s.do(t, "net", "show", "dev", dev); strings.Contains(out, "generic") {
			t.Errorf("still attached:\n%s", out)
		}

		// Those of tcx come behind each other, or first; the last is taken away first.
		s.do(t, "net", "attach", "tcx_ingress", "pinned", s.dir+"/p/last_tc", "dev", dev)
		s.do(t, "net", "attach", "tcx_ingress", "pinned", s.dir+"/p/first_tc", "dev", dev, "prepend")
		s.do(t, "net", "attach", "tcx_egress", "pinned", s.dir+"/p/first_tc", "dev", dev)
		out = s.do(t, "net", "show", "dev", dev)
		if !regexp.MustCompile(`tc:\n.*tcx/ingress first_tc prog_id \d+ *\n.*tcx/ingress last_tc prog_id \d+ *\n.*tcx/egress first_tc prog_id \d+ *\n`).MatchString(out) {
			t.Errorf("tcx:\n%s", out)
		}
		s.do(t, "net", "detach", "tcx_ingress", "dev", dev)
		if out := s.do(t, "net", "show", "dev", dev); strings.Contains(out, "last_tc") || !strings.Contains(out, "tcx/ingress first_tc") {
			t.Errorf("the last is to go first:\n%s", out)
		}
		s.do(t, "net", "detach", "tcx_ingress", "dev", dev)
		s.do(t, "net", "detach", "tcx_egress", "dev", dev)
		for words, want := range map[string]string{
			"detach tcx_egress dev " + dev:                                          "no such file or directory",
			"attach tcx_egress pinned " + prog + " dev " + dev:                      "invalid argument", // an XDP program
			"attach tcx_egress pinned " + s.dir + "/p/last_tc dev " + dev + " over": `"over": nothing more was expected`,
			"attach xdp pinned " + prog + " dev " + dev + " prepend":                `"prepend": nothing more was expected`,
			"attach tcx_egress pinned " + s.dir + "/p/last_tc dev nosuchdev":        "there is no device nosuchdev",
			"attach sideways pinned " + prog + " dev " + dev:                        `"sideways": there are xdp,`,
		} {
			s.refuses(t, want, join("net", words)...)
		}
		if r := s.skep(t, "net", "show", "dev", "nosuchdev"); r.code != 1 || !strings.Contains(r.err, "nosuchdev") {
			t.Errorf("no such device: %+v", r)
		}
	})
}

// What is probed of the kernel is what bpftool finds, but for helpers: Debian's
// takes the words with which new kernels refuse one for a yes.
func TestProbesAsBpftool(t *testing.T) {
	systems(t, func(t *testing.T, s *system) {
		macros := s.do(t, "feature", "probe", "macros", "prefix", "X_")
		for _, want := range []string{"#define X_HAVE_XDP_PROG_TYPE\n", "#define X_HAVE_HASH_MAP_TYPE\n", "#define X_BPF__PROG_TYPE_xdp__HELPER_bpf_redirect 1\n", "#define X_BPF__PROG_TYPE_xdp__HELPER_bpf_skb_pull_data 0\n", "#define X_HAVE_BOUNDED_LOOPS\n"} {
			if !strings.Contains(macros, want) {
				t.Errorf("macros have no %q", want)
			}
		}
		if !s.live {
			text := s.do(t, "feature", "probe", "unprivileged")
			if !strings.Contains(text, "program_type socket_filter is available") || !strings.Contains(text, "program_type kprobe is NOT available") {
				t.Error(part(text, "Scanning eBPF program types"))
			}
			return
		}
		got := s.do(t, "feature", "probe")
		want := s.oracle(t, []string{"feature", "probe"})[0].out
		for _, heading := range []string{"Scanning system configuration", "Scanning system call", "Scanning eBPF program types", "Scanning eBPF map types", "Scanning miscellaneous"} {
			a, b := part(got, heading), part(want, heading)
			for _, name := range []string{"netfilter", "cgrp_storage", "arena"} { // newer than bpftool 7.1
				a = removeLine(a, " "+name+" is ")
			}
			if a != b {
				t.Errorf("skep:\n%s\nbpftool:\n%s", a, b)
			}
		}
		theirs := map[string]bool{}
		for line := range strings.Lines(part(want, "eBPF helpers supported for program type xdp")) {
			theirs[line] = true
		}
		n := 0
		for line := range strings.Lines(part(got, "eBPF helpers supported for program type xdp")) {
			newer := strings.Contains(line, "cgrp_storage") || strings.Contains(line, "user_ringbuf_drain")
			if n++; !theirs[line] && !newer {
				t.Errorf("bpftool does not find %q", line)
			}
		}
		if n < 50 {
			t.Errorf("%d helpers of XDP programs", n)
		}
	})
}

// part is a paragraph of a probe, or the helpers of a type.
func part(text, heading string) string {
	_, rest, _ := strings.Cut(text, heading)
	body, _, _ := strings.Cut(rest, "\n\n")
	if i := strings.Index(body, "\neBPF helpers"); i >= 0 {
		body = body[:i]
	}
	return body
}

func removeLine(text, with string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.Contains(line, with) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
