package device_test

import (
	"bytes"
	"testing"

	"github.com/skep-bpf/skep/device"
)

// TestRooms: XDP programs at a device have a driver's page around a frame: 216 bytes to grow into at
// the front, 3,520 in all behind the headroom, and nothing of an earlier frame in them.
func TestRooms(t *testing.T) {
	l := newLab(t, nil, xdp("grow", `
		r6 = r1
		r2 = -217
		call bpf_xdp_adjust_head
		if r0 == 0 goto wrong
		r1 = r6
		r2 = -216
		call bpf_xdp_adjust_head
		if r0 != 0 goto wrong
		r1 = r6
		r2 = 3461
		call bpf_xdp_adjust_tail
		if r0 == 0 goto wrong
		r1 = r6
		r2 = 3460
		call bpf_xdp_adjust_tail
		if r0 != 0 goto wrong
		r0 = 2
		exit
	wrong:
		r0 = 1
		exit`))
	var in [][]byte
	for range 64 { // as many as a queue takes at a time
		in = append(in, bytes.Repeat([]byte{0xff}, 3520))
	}
	in = append(in, frame(7), bytes.Repeat([]byte{0xee}, 3521)) // the last one in two pieces
	a := l.add("a", newScript(in...))
	if err := a.SetXDP(l.coll.Programs["grow"], device.Native); err != nil {
		t.Fatal(err)
	}
	l.run(func() bool { return a.Stats().RxPackets == uint64(len(in)) })
	if l.stacked("a") != 1 {
		t.Fatalf("%d frames had the rooms, want 1", l.stacked("a"))
	}
	got := l.stack["a"][0]
	if len(got) != 216+3520 || !bytes.Equal(got[216:276], frame(7)) || bytes.Count(got[276:], []byte{0}) != len(got)-276 {
		t.Errorf("%d bytes, the frame %x, behind it %x", len(got), got[216:276], got[276:])
	}
}
