package device_test

import (
	"bytes"
	"testing"

	"github.com/skep-bpf/skep/device"
)

// TestComeAndGo: devices are added to a network that runs, go down and up, and
// are taken away, also while they wait for packets.
func TestComeAndGo(t *testing.T) {
	l := newLab(t, nil, xdp("pass", "r0 = 2\nexit"), xdp("tx", "r0 = 3\nexit"))
	if err := l.net.Start(); err != nil {
		t.Fatal(err)
	}
	if err := l.net.Start(); err == nil {
		t.Error("it starts twice")
	}
	outside, inside := device.NewPair()
	d, err := l.net.AddDevice(device.Attributes{Name: "late", Index: 9, MTU: 9000, Down: true}, inside)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetXDP(l.coll.Programs["tx"], device.Native); err != nil {
		t.Fatal(err)
	}
	if _, err := l.net.AddDevice(device.Attributes{Name: "other", Index: 9}, inside); err == nil {
		t.Error("two devices of an index")
	}
	back := make([][]byte, 1)
	turn := func(n byte) {
		t.Helper()
		if _, err := outside.Transmit([][]byte{frame(n)}); err != nil {
			t.Fatal(err)
		}
		back[0] = make([]byte, 100)
		if got, err := outside.Receive(0, back); got != 1 || err != nil || !bytes.Equal(back[0], frame(n)) {
			t.Fatalf("%d frames, %v: % x", got, err, back[0])
		}
	}
	if d.Up() || d.Stats().RxPackets != 0 {
		t.Error("it is up")
	}
	d.SetUp(true)
	turn(1)
	l.net.Change(d, device.Attributes{Name: "renamed"})
	if l.net.Named("renamed") != d || d.MTU() != 9000 || l.net.Device(9) != d {
		t.Error("after a change it is another")
	}
	turn(2)

	// A pair whose other end is down does not run; taken away, both ends go.
	p, q, err := l.net.AddDevices(device.Attributes{Name: "p"}, device.Attributes{Name: "q", Down: true})
	if err != nil {
		t.Fatal(err)
	}
	if p.Running() || !p.Up() {
		t.Error("p runs without q")
	}
	q.SetUp(true)
	if !p.Running() {
		t.Error("p does not run")
	}
	q.SetUp(false)
	if err := l.net.Remove(p); err != nil {
		t.Error(err)
	}
	if l.net.Named("q") != nil || l.net.Named("p") != nil {
		t.Error("an end is left")
	}
	if err := l.net.Remove(d); err != nil {
		t.Error(err)
	}
	if err := l.net.Stop(); err != nil {
		t.Error(err)
	}
}
