package device_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/testprog"
)

// TestNetkit: programs on what a netkit device sends, by the first verdict that is
// not next, and the policy where there are none.
func TestNetkit(t *testing.T) {
	const pass, drop = device.NetkitPass, device.NetkitDrop
	for _, c := range []struct {
		name   string
		policy device.NetkitAction
		progs  []string
		passes bool
		to     string // where else it goes
	}{
		{"forward", pass, nil, true, ""},
		{"blackhole", drop, nil, false, ""},
		{"pass", drop, []string{"r0 = 0\nexit"}, true, ""},
		{"drop", pass, []string{"r0 = 2\nexit"}, false, ""},
		{"next alone", drop, []string{"r0 = -1\nexit"}, true, ""},
		{"next, drop", pass, []string{"r0 = -1\nexit", "r0 = 2\nexit", "r0 = 0\nexit"}, false, ""},
		{"next, pass", drop, []string{"r0 = -1\nexit", "r0 = 0\nexit", "r0 = 2\nexit"}, true, ""},
		{"no action", pass, []string{"r0 = 5\nexit"}, false, ""},
		{"redirect", pass, []string{"r1 = 9\nr2 = 0\ncall 23\nexit"}, false, "other"},
		{"redirect nowhere", pass, []string{"r0 = 7\nexit"}, false, ""},
		// It is the peer's already: index 4 of (3, 4).
		{"device", drop, []string{"r2 = *(u32 *)(r1 + 40)\nr0 = 2\nif r2 != 4 goto out\nr0 = 0\nout:\nexit"}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			progs := []testprog.Prog{cls("out", "r1 = 3\nr2 = 0\ncall 23\nexit")}
			var names []string
			for i, text := range c.progs {
				names = append(names, fmt.Sprintf("p%d", i))
				progs = append(progs, cls(names[i], text))
			}
			l := newLab(t, nil, progs...)
			_, port := device.NewPair()
			src := newScript(frame(1))
			in, err := l.net.AddDevice(device.Attributes{Name: "in", Index: 8}, src)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := in.Ingress().Add(hook.Filter{Program: l.coll.Programs["out"], Direct: true}); err != nil {
				t.Fatal(err)
			}
			other, err := l.net.AddDevice(device.Attributes{Name: "other", Index: 9}, port)
			if err != nil {
				t.Fatal(err)
			}
			a, b, err := l.net.AddNetkit(device.Attributes{Name: "nk0", Index: 3}, device.Attributes{Name: "nk1", Index: 4}, c.policy, pass)
			if err != nil {
				t.Fatal(err)
			}
			var chain []*skep.Program
			for _, name := range names {
				chain = append(chain, l.coll.Programs[name])
			}
			if err := a.SetNetkit(chain); err != nil {
				t.Fatal(err)
			}
			if err := in.SetNetkit(nil); err == nil {
				t.Error("a device of another kind takes netkit programs")
			}
			if err := l.net.Start(); err != nil {
				t.Fatal(err)
			}
			for b.Stats().RxPackets+a.Stats().TxDropped+other.Stats().TxPackets == 0 {
				runtime.Gosched()
			}
			if err := l.net.Stop(); err != nil {
				t.Fatal(err)
			}
			if got := b.Stats().RxPackets == 1; got != c.passes {
				t.Errorf("it passes: %v", got)
			}
			if got := other.Stats().TxPackets == 1; got != (c.to != "") {
				t.Errorf("it leaves by another device: %v", got)
			}
		})
	}
	l := newLab(t, nil)
	if _, _, err := l.net.AddNetkit(device.Attributes{Name: "a"}, device.Attributes{Name: "b"}, 7, pass); err == nil {
		t.Error("a policy that is none")
	}
}
