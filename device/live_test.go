package device_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/packet"
)

// running calls f while the network runs.
func (l *lab) running(f func()) {
	l.t.Helper()
	if err := l.net.Start(); err != nil {
		l.t.Fatal(err)
	}
	f()
	if err := l.net.Stop(); err != nil {
		l.t.Error(err)
	}
}

// TestRunLive: the frames of a live run go where the program says, and what is no action raises no exception.
func TestRunLive(t *testing.T) {
	count := "r6 = r1\nr7 = *(u32 *)(r6 + 0)\nr8 = *(u32 *)(r6 + 4)\nr0 = r7\nr0 += 16\nif r0 > r8 goto end\nr0 = *(u8 *)(r7 + 15)\nr0 += 1\n*(u8 *)(r7 + 15) = r0\n"
	for _, c := range []struct {
		name, text    string
		stack, out, b int
	}{
		{"drop", "r0 = 1\nexit\nend:\nr0 = 1\nexit", 0, 0, 0},
		{"pass", "r0 = 2\nexit\nend:\nr0 = 1\nexit", 200, 0, 0},
		{"tx", "r0 = 3\nexit\nend:\nr0 = 1\nexit", 0, 200, 0},
		{"aborted", "r0 = 0\nexit\nend:\nr0 = 1\nexit", 0, 0, 0},
		{"nonsense", "r0 = 99\nexit\nend:\nr0 = 1\nexit", 0, 0, 0},
		{"redirect", "r1 = 3\nr2 = 0\ncall bpf_redirect\nexit\nend:\nr0 = 1\nexit", 0, 0, 200},
		{"redirect to nowhere", "r1 = 9\nr2 = 0\ncall bpf_redirect\nexit\nend:\nr0 = 1\nexit", 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, nil, xdp("p", count+c.text), xdp("driver", "r0 = 1\nexit"))
			pa, pb := newScript(), newScript()
			a, _ := l.add("a", pa), l.add("b", pb)
			if err := a.SetXDP(l.coll.Programs["driver"], device.Native); err != nil { // which the frames are past
				t.Fatal(err)
			}
			if _, err := a.RunLive(l.coll.Programs["p"], device.LiveRun{Data: frame(7)}); !errors.Is(err, device.ErrNotRunning) {
				t.Errorf("in a network that does not run: %v", err)
			}
			l.running(func() {
				took, err := a.RunLive(l.coll.Programs["p"], device.LiveRun{Data: frame(7), Repeat: 200, Batch: 100})
				if err != nil || took <= 0 {
					t.Errorf("%v, %v", took, err)
				}
			})
			if l.stacked("a") != c.stack || pa.sent() != c.out || pb.sent() != c.b {
				t.Errorf("%d to the stack, %d out of a, %d out of b", l.stacked("a"), pa.sent(), pb.sent())
			}
			if s := a.Stats(); s.RxPackets != 0 || len(l.wrong) != 0 {
				t.Errorf("the driver has seen %+v, %v exceptions", s, l.wrong)
			}
			most := byte(0)
			for _, f := range append(append(pa.out, pb.out...), l.stack["a"]...) {
				most = max(most, f[15])
				f[15] = 0
				if !bytes.Equal(f, frame(7)) {
					t.Fatalf("% x", f)
				}
			}
			// The 128 pages of two refills are those of the first 128 frames; what comes then is used a second time.
			if c.stack+c.out+c.b > 0 && most != 2 {
				t.Errorf("a frame was used %d times", most)
			}
		})
	}
}

// TestRunLiveRefused: what the kernel would not take.
func TestRunLiveRefused(t *testing.T) {
	l := newLab(t, nil, xdp("p", "r0 = 1\nexit"), cls("tc", "r0 = 0\nexit"))
	a := l.add("a", newScript())
	for name, r := range map[string]device.LiveRun{
		"batch":    {Data: frame(1), Batch: 257},
		"metadata": {Data: frame(1), Meta: 3},
		"long":     {Data: make([]byte, packet.LiveMax+1)},
	} {
		if _, err := a.RunLive(l.coll.Programs["p"], r); !errors.Is(err, device.ErrLiveRun) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.RunLive(l.coll.Programs["tc"], device.LiveRun{Data: frame(1)}); !errors.Is(err, device.ErrLiveRun) {
		t.Errorf("a tc program: %v", err)
	}
	l.running(func() {
		if _, err := a.RunLive(l.coll.Programs["p"], device.LiveRun{Data: make([]byte, 13)}); err == nil {
			t.Error("a frame without a whole header is taken")
		}
	})
}
