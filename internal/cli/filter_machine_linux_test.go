package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/capture"
)

// listener is a skep filter under way.
type listener struct {
	out, errs bytes.Buffer
	ready     chan struct{}
	ended     chan int
}

// Write takes what the command says on standard error.
func (l *listener) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte("listening on ")) {
		close(l.ready)
		return len(b), nil
	}
	return l.errs.Write(b)
}

// listen starts a command line and waits until it listens.
func listen(t *testing.T, args ...string) *listener {
	t.Helper()
	l := &listener{ready: make(chan struct{}), ended: make(chan int, 1)}
	go func() { l.ended <- Main(append([]string{"filter"}, args...), strings.NewReader(""), &l.out, l) }()
	select {
	case <-l.ready:
	case code := <-l.ended:
		t.Fatalf("skep filter %v: exit code %d, %s", args, code, &l.errs)
	}
	return l
}

// packetsOf reads a capture.
func packetsOf(t *testing.T, name string, skip int) (all []string) {
	t.Helper()
	r, err := capture.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%d: %x", p.Length-skip, p.Data[skip:]))
	}
}

// TestFilterDevice: packets of a machine's device are seen as those of an interface: the same that the
// expression leaves of the capture that the device receives.
func TestFilterDevice(t *testing.T) {
	served(t)
	const web = "../../examples/captures/web.pcap"
	dir := t.TempDir()
	for i, c := range []struct{ live, file string }{ // a tag that was taken off does not hide what is behind it
		{"tcp port 80", "tcp port 80 or (vlan and tcp port 80)"},
		{"vlan", "vlan"},
		{"not tcp", "not tcp and not (vlan and tcp)"},
	} {
		expr := c.live
		want := filepath.Join(dir, fmt.Sprintf("want%d.pcap", i))
		must(t, "filter -r %s -w %s '%s'", web, want, c.file)
		n := must(t, "filter -r %s --count '%s'", web, c.file)
		if strings.TrimSpace(n) == "0" {
			t.Fatalf("%s: no packet of the capture", expr)
		}
		dev, got := fmt.Sprintf("cap%d", i), filepath.Join(dir, fmt.Sprintf("got%d.pcap", i))
		must(t, "ip link add %s type pcap in %s", dev, web)
		l := listen(t, "-i", dev, "-w", got, "-c", strings.TrimSpace(n), expr)
		received(t, dev)
		if code := <-l.ended; code != 0 {
			t.Errorf("%s: exit code %d, %s", expr, code, &l.errs)
		}
		if w, g := packetsOf(t, want, 0), packetsOf(t, got, 0); !equal(w, g) {
			t.Errorf("%s:\nwant %s\ngot  %s", expr, strings.Join(w, "\n"), strings.Join(g, "\n"))
		}
	}

	// All devices at once, in print and cooked; a packet is printed as often as it is seen.
	must(t, "ip link add in type pcap in %s", web)
	must(t, "ip link add out type pcap")
	must(t, "ip link set out up")
	must(t, "tc qdisc add dev in clsact")
	must(t, "tc filter add dev in ingress bpf bytecode '1,6 0 0 1' classid 1:1 action mirred egress redirect dev out")
	n, err := strconv.Atoi(strings.TrimSpace(must(t, "filter -r %s --count 'tcp port 80 or (vlan and tcp port 80)'", web)))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "-i", "any", "-c", strconv.Itoa(2*n), "tcp port 80")
	received(t, "in")
	if code := <-l.ended; code != 0 || strings.Count(l.out.String(), "\n") != 2*n {
		t.Errorf("any: exit code %d, %d lines of %d: %s", code, strings.Count(l.out.String(), "\n"), 2*n, &l.errs)
	}

	// A device that goes, and one that is not there.
	l = listen(t, "-i", "out", "-w", filepath.Join(dir, "rest.pcap"))
	must(t, "ip link del out")
	if code := <-l.ended; code != 1 || l.errs.String() != "skep filter: out: out is gone\n" {
		t.Errorf("a device that goes: exit code %d, %q", code, &l.errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "rest.pcap")); err != nil {
		t.Errorf("what was seen before: %v", err)
	}
	if _, errs, code := skep("filter", "-i", "nowhere0"); code != 1 || errs != "skep filter: nowhere0: Cannot find device \"nowhere0\"\n" {
		t.Errorf("a device that is not there: exit code %d, %q", code, errs)
	}
}

func equal(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }
