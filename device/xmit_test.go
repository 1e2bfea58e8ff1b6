package device_test

import (
	"runtime"
	"testing"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
)

// TestSendsFrames: native XDP sends frames to devices that can take them alone, and so does a veth end that returns
// them; generic XDP sends packets to all.
func TestSendsFrames(t *testing.T) {
	type mode = device.XDPMode
	const none, native, generic = mode(99), device.Native, device.Generic
	for _, c := range []struct {
		name     string
		from     mode // of the program that sends
		to       string
		far      mode // of the program at the other end of where it goes
		received uint64
	}{
		{"to a port", native, "port", none, 1},
		{"to lo", native, "lo", none, 0}, {"generic to lo", generic, "lo", none, 1},
		{"to netkit", native, "nk", none, 0}, {"generic to netkit", generic, "nk", none, 1},
		{"to a pair", native, "veth", none, 0}, {"generic to a pair", generic, "veth", none, 1},
		{"to a pair with a program", native, "veth", native, 1}, {"to a pair with a generic program", native, "veth", generic, 0},
		{"back", native, "back", none, 0}, {"back to a program", native, "back", native, 1}, {"generic back", generic, "back", none, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, nil, xdp("tx", "r0 = 3\nexit"), xdp("drop", "r0 = 1\nexit"),
				xdp("to5", "r1 = 5\nr2 = 0\ncall bpf_redirect\nexit"))
			in, near, err := l.net.AddPair("in", "near") // 2, 3
			if err != nil {
				t.Fatal(err)
			}
			port, prog := newScript(), "to5"
			at := device.Attributes{Name: "to", Index: 5}
			far := in
			switch c.to {
			case "port":
				_, err = l.net.AddDevice(at, port)
			case "lo":
				far, err = l.net.AddDevice(at, device.NewLoop())
			case "nk":
				_, far, err = l.net.AddNetkit(at, device.Attributes{Name: "far"}, device.NetkitPass, device.NetkitPass)
			case "veth":
				_, far, err = l.net.AddDevices(at, device.Attributes{Name: "far"})
			case "back":
				prog = "tx"
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := near.SetXDP(l.coll.Programs[prog], c.from); err != nil {
				t.Fatal(err)
			}
			if c.far != none {
				if err := far.SetXDP(l.coll.Programs["drop"], c.far); err != nil {
					t.Fatal(err)
				}
			}
			before := far.Stats().RxPackets
			l.running(func() {
				if ok, err := l.net.NewSender(0, nil).Send(in, frame(1), hook.Meta{}, false); !ok || err != nil {
					t.Errorf("%t, %v", ok, err)
				}
				if c.to == "lo" && c.received > 0 {
					for far.Stats().RxPackets == 0 {
						runtime.Gosched()
					}
				}
			})
			got := far.Stats().RxPackets - before
			if c.to == "port" {
				got = uint64(port.sent())
			}
			if got != c.received {
				t.Errorf("%d received, want %d", got, c.received)
			}
			if dropped := near.Stats().RxDropped; dropped != 1-c.received {
				t.Errorf("%d dropped", dropped)
			}
		})
	}
}
