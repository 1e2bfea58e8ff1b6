package xsk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/xsk"
)

// TestZeroCopy: on a cable packets are received into the chunks of the fill ring, and
// the program works on them there. All the tests of sockets run in this mode too, as it is what a cable has
// when nothing is said.
func TestZeroCopy(t *testing.T) {
	for _, flags := range []xsk.Flags{0, xsk.ZeroCopy, xsk.Copy, xsk.UseSG} {
		w := newWorld(t, forwardObject)
		s := must(t, w, &xsk.Options{Flags: flags})
		zero, err := s.ZeroCopy()
		if want := flags&(xsk.Copy|xsk.UseSG) == 0; zero != want || err != nil {
			t.Errorf("flags %#x: zero copy is %v, %v", flags, zero, err)
		}
		for i := range 200 {
			w.in(frame(tcp, 60+i, byte(i))) // in a chunk too, on its way up the stack
			w.in(frame(udp, 60+i, byte(i)))
			got := receive(t, s, 1)
			if !bytes.Equal(got[0].Data, frame(udp, 60+i, byte(i))) {
				t.Fatalf("% x", got[0].Data)
			}
			s.Free(got...)
		}
		for w.up() < 200 {
			time.Sleep(time.Millisecond)
		}
		st := w.dev.Stats()
		if want := map[bool]uint64{true: 200}[zero]; st.RxSockets != 200 || st.RxInPlace != want {
			t.Errorf("flags %#x: %d frames for the socket, %d of them in place", flags, st.RxSockets, st.RxInPlace)
		}
	}
	// A port that is no cable copies.
	port := &burst{frame: frame(udp, 60, 1), in: make(chan int)}
	w := newPortWorld(t, forwardObject, port)
	if _, err := w.open(0, &xsk.Options{Flags: xsk.ZeroCopy}); err == nil {
		t.Error("zero copy where there is none")
	}
	if s, err := w.open(0, nil); err != nil {
		t.Error(err)
	} else if zero, err := s.ZeroCopy(); zero || err != nil {
		t.Errorf("zero copy is %v, %v", zero, err)
	}
}

// TestZeroCopyLimits: a packet larger than a chunk holds, or for which there is none, is
// dropped by the driver, whatever the program would have done with it.
func TestZeroCopyLimits(t *testing.T) {
	u, err := xsk.NewUMEM(&xsk.UMEMOptions{Chunks: 4, ChunkSize: 2048, Headroom: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	w := newWorld(t, forwardObject)
	s := must(t, w, &xsk.Options{UMEM: u, FillSize: 4, Flags: xsk.ZeroCopy})
	defer s.Close()
	w.in(frame(udp, 793, 1)) // too long by one
	w.in(frame(udp, 792, 2))
	held := receive(t, s, 1)
	if !bytes.Equal(held[0].Data, frame(udp, 792, 2)) {
		t.Errorf("% x", held[0].Data)
	}
	for i := range byte(3) {
		w.in(frame(udp, 60, i))
	}
	held = append(held, receive(t, s, 3)...)
	w.in(frame(tcp, 60, 9))
	for end := time.Now().Add(5 * time.Second); w.dev.Stats().RxDropped < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	st, _ := s.Statistics()
	if d := w.dev.Stats(); d.RxDropped != 2 || w.up() != 0 || st.RxFillRingEmptyDescs != 1 {
		t.Errorf("%+v, %+v, %d up", d, st, w.up())
	}
	s.Free(held...)
}

// TestRewrite: what a program does to a packet's head in place, the socket sees.
func TestRewrite(t *testing.T) {
	for _, flags := range []xsk.Flags{xsk.ZeroCopy, xsk.Copy} {
		near, far := device.NewPair()
		maps := []*image.Map{{Name: "xsks", Type: catalog.MapXSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1}}
		w := newImageWorld(t, testprog.Image(t, maps, testprog.Prog{Name: "p", Type: catalog.ProgXDP, Text: `
			r6 = r1
			r2 = -20
			call bpf_xdp_adjust_head
			r1 = r6
			r2 = *(u32 *)(r1 + 0)
			r3 = *(u32 *)(r1 + 4)
			r4 = r2
			r4 += 20
			if r4 > r3 goto out
			*(u64 *)(r2 + 0) = 0x11223388
			*(u64 *)(r2 + 8) = 7
			*(u32 *)(r2 + 16) = 9
			r1 = r6
			r2 = -4
			call bpf_xdp_adjust_meta
			r1 = map_idx[0] ll
			r2 = 0
			r3 = 2
			call bpf_redirect_map
		out:
			exit`}), near).at(t, far)
		s := must(t, w, &xsk.Options{Flags: flags})
		w.in(frame(udp, 100, 1))
		got := receive(t, s, 1)[0].Data
		if len(got) != 120 || !bytes.Equal(got[20:], frame(udp, 100, 1)) || got[0] != 0x88 || got[8] != 7 || got[16] != 9 {
			t.Errorf("flags %#x: % x", flags, got)
		}
	}
}

// TestQueues: a socket gets what came in on its queue, and nothing that is redirected to
// it from another.
func TestQueues(t *testing.T) {
	port := &queues{in: make(chan []byte), done: make(chan struct{})}
	w := newPortWorld(t, forwardObject, port)
	a, err := w.open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.open(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	if err := errors.Join(w.put(0, a), w.put(1, b)); err != nil {
		t.Fatal(err)
	}
	b.SetDeadline(time.Now().Add(20 * time.Second))
	port.in <- frame(udp, 60, 1)
	if got := receive(t, b, 1); !bytes.Equal(got[0].Data, frame(udp, 60, 1)) {
		t.Errorf("% x", got[0].Data)
	}
	if err := w.put(1, a); err != nil {
		t.Fatal(err)
	}
	port.in <- frame(udp, 60, 2)
	for end := time.Now().Add(5 * time.Second); w.dev.Stats().RxDropped == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if d := w.dev.Stats(); d.RxDropped != 1 || d.RxSockets != 1 {
		t.Errorf("%+v", d)
	}
}

// queues is a port with two queues, on the second of which frames come in.
type queues struct {
	in   chan []byte
	done chan struct{}
}

func (q *queues) Queues() int { return 2 }

func (q *queues) Receive(queue int, frames [][]byte) (int, error) {
	var in chan []byte
	if queue == 1 {
		in = q.in
	}
	select {
	case f := <-in:
		frames[0] = frames[0][:copy(frames[0], f)]
		return 1, nil
	case <-q.done:
		return 0, io.EOF
	}
}

func (q *queues) Transmit(frames [][]byte) (int, error) { return len(frames), nil }
func (q *queues) Close() error                          { close(q.done); return nil }

// TestCable: what one device of a network sends to its peer is received in place there too.
func TestCable(t *testing.T) {
	opts := engine
	opts.CPUs = 2
	static := skep.NewStaticNet()
	opts.Net = static
	m, err := skep.NewMachine(&opts)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	network := device.New(m, &device.Options{Net: static})
	_, b, err := network.AddPair("a", "b") // with indexes 2 and 3
	if err != nil {
		t.Fatal(err)
	}
	port := &burst{frame: frame(udp, 60, 1), in: make(chan int)}
	c, err := network.Add("c", port)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.LoadCollection(testprog.Image(t, nil, testprog.Prog{Name: "out", Type: catalog.ProgXDP, Text: "r1 = 2\nr2 = 0\ncall bpf_redirect\nexit"}))
	if err != nil {
		t.Fatal(err)
	}
	in, err := m.LoadCollectionFile(forwardObject)
	if err != nil {
		t.Fatal(err)
	}
	s, err := xsk.Open(b, 0, &xsk.Options{Flags: xsk.ZeroCopy})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := errors.Join(c.SetXDP(out.Programs["out"], device.Native), b.SetXDP(in.Programs["xsk_forward"], device.Native), in.Maps["xsks"].Put(uint32(0), s)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- network.Run(ctx) }()
	s.SetDeadline(time.Now().Add(20 * time.Second))
	for range 50 {
		port.in <- 40
		for _, f := range receive(t, s, 40) {
			if !bytes.Equal(f.Data, port.frame) {
				t.Fatalf("% x", f.Data)
			}
			s.Free(f)
		}
	}
	if st := b.Stats(); st.RxInPlace != 2000 || st.RxPackets != 2000 {
		t.Errorf("%+v", st)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCloseUnderTraffic: sockets and their memory come and go while packets do.
func TestCloseUnderTraffic(t *testing.T) {
	near, far := device.NewPair()
	w := newPortWorld(t, forwardObject, near)
	stop := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		f := [][]byte{frame(udp, 60, 1), frame(udp, 600, 2), frame(tcp, 60, 3)}
		for {
			select {
			case <-stop:
				return
			default:
				far.Transmit(f)
			}
		}
	}()
	for i := range 60 {
		s, err := w.open(0, &xsk.Options{Flags: []xsk.Flags{0, xsk.Copy}[i%2]})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.put(0, s); err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(20 * time.Second))
		frames := make([]xsk.Frame, 8)
		for range 10 {
			n, err := s.Receive(frames)
			if err != nil {
				t.Fatal(err)
			}
			if i%3 > 0 {
				s.Free(frames[:n]...)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-sent
}
