package filter

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// TestLive captures on the loopback device of a network namespace of its own,
// into which UDP packets to ports 9 and 10 are sent without end.
func TestLive(t *testing.T) {
	netns.In(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		netns.Up(t, "lo")
		if probe, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			oracle.Need(t, "a packet socket", err)
		} else {
			unix.Close(probe)
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for port := 9; ; port ^= 3 {
				select {
				case <-stop:
					return
				default:
					// A refusal comes back for what was sent before; it is no matter.
					unix.Sendto(fd, []byte("to be seen"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
				}
			}
		}()
		live(t)
		close(stop)
		<-stopped
	})
}

func live(t *testing.T) {
	for _, c := range []struct {
		device string
		link   capture.LinkType
		header int
	}{{"lo", capture.Ethernet, 14}, {"any", 276, 20}} {
		out := filepath.Join(t.TempDir(), "live.pcap")
		o := Options{Expr: "udp port 9", Interface: c.device, Limit: 3, Out: out, Snaplen: maxSnaplen}
		var text bytes.Buffer
		if err := run(context.Background(), ui.New(nil, &text, &text), &o); err != nil {
			t.Errorf("%s: %v", c.device, err)
			continue
		}
		r, err := capture.Open(out)
		if err != nil {
			t.Error(err)
			continue
		}
		packets := 0
		for {
			p, err := r.Next()
			if err != nil {
				break
			}
			packets++
			const overIP = 20 + 8
			if p.LinkType != c.link || len(p.Data) != c.header+overIP+10 || string(p.Data[c.header+overIP:]) != "to be seen" || p.Data[c.header+23] != 9 || p.Time.IsZero() {
				t.Errorf("%s: % x of %v at %v", c.device, p.Data, p.LinkType, p.Time)
			}
		}
		r.Close()
		if packets != 3 || !strings.HasPrefix(text.String(), "3 of ") {
			t.Errorf("%s: %d packets; %s", c.device, packets, &text)
		}
	}
	var text bytes.Buffer
	o := Options{Expr: "udp port 10", Interface: "lo", Limit: 2, Snaplen: maxSnaplen}
	if err := run(context.Background(), ui.New(nil, &text, &text), &o); err != nil || strings.Count(text.String(), " > 127.0.0.1.10: UDP, length 10\n") != 2 {
		t.Errorf("%v: %s", err, &text)
	}
	o = Options{Interface: "nowhere0", Snaplen: maxSnaplen}
	if err := run(context.Background(), ui.New(nil, &text, &text), &o); err == nil || !strings.HasPrefix(err.Error(), "there is no interface nowhere0: there ") {
		t.Errorf("a device that is not there: %v", err)
	}
}
