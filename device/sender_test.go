package device_test

import (
	"context"
	"errors"
	"testing"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
)

// TestSendAtTheEnd: who sends while Run comes to its end is let finish, or is told that the network does not run; what
// was taken arrives.
func TestSendAtTheEnd(t *testing.T) {
	cpus := []*image.Map{{Name: "cpus", Type: catalog.MapCPUMap, KeySize: 4, ValueSize: 4, MaxEntries: 4}}
	l := newLab(t, cpus, xdp("cpu", "r1 = map_idx[0] ll\nr2 = 1\nr3 = 0\ncall bpf_redirect_map\nexit"))
	if err := l.coll.Maps["cpus"].Put(uint32(1), uint32(64)); err != nil {
		t.Fatal(err)
	}
	a, b, err := l.net.AddPair("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetXDP(l.coll.Programs["cpu"], device.Native); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	l.mu.Lock() // the other CPU's packets wait at the stack, and with them the end of the network
	go func() { done <- l.net.Run(ctx) }()
	s := l.net.NewSender(0, nil)
	sent := 0
	for {
		_, err := s.Send(a, frame(1), hook.Meta{}, false)
		switch {
		case err == nil:
			sent++
			cancel()
			continue
		case !errors.Is(err, device.ErrNotRunning):
			t.Error(err)
		case sent == 0: // not yet
			continue
		}
		break
	}
	l.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := l.stacked("b") + int(b.Stats().RxDropped); got != sent {
		t.Errorf("%d frames of %d arrived or were dropped", got, sent)
	}
}
