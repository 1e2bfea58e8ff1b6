package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// TestRing captures what a tap device receives, in a network namespace of its own.
func TestRing(t *testing.T) {
	netns.In(t, func() {
		tap, _ := netns.TAP(t, "tap0", 0)
		// Not as subtests: those run on other threads.
		ringTag(t, tap)
		ringWrap(t, tap)
		ringDrops(t, tap)
	})
}

// frame is an Ethernet frame of a protocol nobody listens to.
func frame(n int, serial uint32) []byte {
	b := make([]byte, n)
	copy(b, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5")
	binary.BigEndian.PutUint32(b[14:], serial)
	return b
}

// captureWhile captures from tap0 until the limit is reached, while send goes on.
func captureWhile(t *testing.T, o Options, send func()) (string, *capture.Reader) {
	t.Helper()
	o.Interface, o.Out = "tap0", filepath.Join(t.TempDir(), "out.pcap")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				send()
			}
		}
	}()
	var text bytes.Buffer
	err := run(context.Background(), ui.New(nil, &text, &text), &o)
	close(stop)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	r, err := capture.Open(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return text.String(), r
}

// ringTag: the kernel takes a VLAN tag off a frame, and the capture has it where it was.
func ringTag(t *testing.T, tap int) {
	plain := frame(64, 7)
	tagged := append(bytes.Clone(plain[:12]), 0x88, 0xa8, 0x60, 0x05)
	tagged = append(tagged, plain[12:]...)
	_, r := captureWhile(t, Options{Expr: "ether proto 0x88b5", Limit: 2, Snaplen: maxSnaplen}, func() { unix.Write(tap, tagged) })
	for range 2 {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Data, tagged) || p.Length != len(tagged) {
			t.Errorf("% x (%d)\nwant % x", p.Data, p.Length, tagged)
		}
	}
}

// ringWrap: twice as many bytes as the ring holds come whole and in order, but
// for what was dropped.
func ringWrap(t *testing.T, tap int) {
	const size = 4000
	serial := uint32(0)
	_, r := captureWhile(t, Options{Expr: "ether proto 0x88b5", Limit: 2 * ringBlocks * ringBlock / size, Snaplen: 1000}, func() {
		if _, err := unix.Write(tap, frame(size, serial)); err == nil {
			serial++
		}
	})
	last := uint32(0)
	for n := 0; ; n++ {
		p, err := r.Next()
		if err != nil {
			if n != 2*ringBlocks*ringBlock/size {
				t.Errorf("%d packets: %v", n, err)
			}
			return
		}
		at := binary.BigEndian.Uint32(p.Data[14:])
		if len(p.Data) != 1000 || p.Length != size || n > 0 && at <= last {
			t.Fatalf("packet %d: %d of %d bytes, number %d after %d", n, len(p.Data), p.Length, at, last)
		}
		last = at
	}
}

// ringDrops: what finds no room is counted.
func ringDrops(t *testing.T, tap int) {
	sn := &sniffer{moment: moment{link: linkEthernet}}
	if err := sn.open(0, nil); err != nil {
		t.Fatal(err)
	}
	defer sn.close()
	const size = 8000
	for n := range ringBlocks*ringBlock/size + 100 {
		if _, err := unix.Write(tap, frame(size, uint32(n))); err != nil {
			t.Fatal(err)
		}
	}
	n, err := sn.ring.dropped()
	if err != nil || n == 0 {
		t.Errorf("%d dropped, %v", n, err)
	}
	if n, _ := sn.ring.dropped(); n != 0 {
		t.Errorf("%d dropped again", n)
	}
}
