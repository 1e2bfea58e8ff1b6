package device_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// TestLive has frames go from the host's kernel into devices here and back: by a
// TAP device, whose XDP program returns them, and past a tapped interface.
func TestLive(t *testing.T) {
	netns.In(t, func() {
		tap, err := device.OpenTAP("skep0", 1)
		oracle.Need(t, "a tap device", err)
		defer tap.Close()
		sock, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		oracle.Need(t, "a packet socket", err)
		defer unix.Close(sock)
		index := netns.Up(t, "skep0")
		if err := unix.SetsockoptInt(sock, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			t.Error(err)
		}
		const local = 0xb588 // 0x88b5 in network order
		if err := unix.Bind(sock, &unix.SockaddrLinklayer{Protocol: local, Ifindex: index}); err != nil {
			t.Error(err)
		}
		watched, err := device.OpenInterface("skep0", false)
		oracle.Need(t, "a tapped interface", err)
		if _, err := device.OpenInterface("nowhere0", false); err == nil {
			t.Error("an interface that is not there")
		}

		l := newLab(t, nil, xdp("tx", "r0 = 3\nexit"), xdp("drop", "r0 = 1\nexit"))
		a, w := l.add("a", tap), l.add("w", watched)
		a.SetXDP(l.coll.Programs["tx"], device.Native)
		w.SetXDP(l.coll.Programs["drop"], device.Native)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- l.net.Run(ctx) }()
		timeout := unix.NsecToTimeval(10e9)
		if err := unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 2048)
		for n := range byte(20) {
			if _, err := unix.Write(sock, frame(n)); err != nil {
				t.Error(err)
			}
			got, err := unix.Read(sock, buf)
			if err != nil || !bytes.Equal(buf[:got], frame(n)) {
				t.Errorf("frame %d comes back as % x, %v", n, buf[:max(got, 0)], err)
				break
			}
		}
		// The tapped interface has seen what came back, if nothing else of it.
		for w.Stats().RxPackets < 20 && !t.Failed() {
			runtime.Gosched()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := tap.Transmit([][]byte{frame(1)}); err == nil || errors.Is(err, unix.EBADF) {
			t.Errorf("a closed device transmits: %v", err)
		}
	})
}
