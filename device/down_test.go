package device_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
)

// TestDropped: the first packet that finds a device on its way down is told of, once until that one is up.
func TestDropped(t *testing.T) {
	l := newLab(t, nil)
	var told []string
	n := device.New(l.mach, &device.Options{Dropped: func(d, down *device.Device) {
		told = append(told, fmt.Sprint(d.Name(), " for ", down.Name()))
	}})
	a, b, err := n.AddPair("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	tun, err := n.AddTunnel(device.Attributes{Name: "tun"}, device.TunnelConfig{Kind: device.VXLAN, Under: a})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	s := n.NewSender(0, nil)
	send := func(d *device.Device) {
		t.Helper()
		for range 2 {
			if _, err := s.Send(d, frame(1), hook.Meta{}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(a)
	b.SetUp(false)
	send(a)
	send(tun)
	b.SetUp(false) // which it was
	send(a)
	b.SetUp(true)
	send(a)
	a.SetUp(false)
	b.SetUp(false)
	send(a)
	send(b)
	want := []string{"a for b", "tun for b", "a for a", "b for b"}
	if !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
	if s := a.Stats(); s.TxDropped != 6 || s.TxPackets != 4 {
		t.Errorf("%+v", s)
	}
}
