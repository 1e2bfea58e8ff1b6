package xsk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/xsk"
)

const (
	forwardObject = "../examples/xsk_forward/xsk_forward.o"
	sampleObject  = "../examples/xsk_sample/xsk_sample.o"
)

// frame is a UDP packet, or TCP, of n bytes that bears a number.
func frame(proto byte, n int, id byte) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = id + byte(i)
	}
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0})
	f[23] = proto
	return f
}

const tcp, udp = 6, 17

// shared are the tests of both engines.
var shared = map[string]func(*testing.T, *world){
	"reflect":        func(t *testing.T, w *world) { reflect(t, w, xsk.UseNeedWakeup) },
	"reflect copies": func(t *testing.T, w *world) { reflect(t, w, xsk.Copy) },
	"unaligned":      unaligned, "deadline": deadline, "close": closing, "wrong": wrong, "two queues' sockets": sharing,
	"several frames": several, "starve": starve, "receive only": receiveOnly,
}

// TestSkep runs them on skep.
func TestSkep(t *testing.T) {
	for name, f := range shared {
		t.Run(name, func(t *testing.T) { f(t, newWorld(t, forwardObject)) })
	}
}

// must is the socket of a world, in its xskmap.
func must(t *testing.T, w *world, o *xsk.Options) *xsk.Socket {
	t.Helper()
	s, err := w.open(0, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := w.put(0, s); err != nil {
		t.Fatal(err)
	}
	s.SetDeadline(time.Now().Add(20 * time.Second)) // far off: a test that hangs ends
	return s
}

// receive takes n frames.
func receive(t *testing.T, s *xsk.Socket, n int) []xsk.Frame {
	t.Helper()
	frames := make([]xsk.Frame, n)
	for got := 0; got < n; {
		s.SetDeadline(time.Now().Add(20 * time.Second)) // far off, however long the test has gone on
		m, err := s.Receive(frames[got:])
		if err != nil {
			t.Fatalf("after %d frames: %v", got, err)
		}
		got += m
	}
	return frames
}

// reflect sends what comes in back, changed in place.
func reflect(t *testing.T, w *world, flags xsk.Flags) {
	s := must(t, w, &xsk.Options{Flags: flags})
	free := s.UMEM().Available()
	for round := range 100 {
		var want [][]byte
		for i := range 30 {
			f := frame(udp, 60+13*i, byte(round+i))
			w.in(f)
			w.in(frame(tcp, 60, 0)) // goes elsewhere
			f[0], f[6] = 4, 8
			want = append(want, f)
		}
		frames := receive(t, s, len(want))
		for i := range frames {
			frames[i].Data[0], frames[i].Data[6] = 4, 8
		}
		if n, err := s.Transmit(frames); n != len(frames) || err != nil {
			t.Fatal(n, err)
		}
		for i, f := range want {
			if got := w.out(); !bytes.Equal(got, f) {
				t.Fatalf("round %d frame %d comes back as % x, want % x", round, i, got, f)
			}
		}
	}
	if w.up != nil && w.up() != 3000 {
		t.Errorf("%d frames went up the stack", w.up())
	}
	if flags&xsk.Copy == 0 {
		return // a driver may keep chunks for what comes next
	}
	s.Alloc(nil) // takes back what was sent
	for end := time.Now().Add(time.Second); s.UMEM().Available() != free && time.Now().Before(end); s.Alloc(nil) {
	}
	if n := s.UMEM().Available(); n != free {
		t.Errorf("%d chunks are free, %d before", n, free)
	}
	st, err := s.Statistics()
	st.TxRingEmptyDescs = 0 // as often as somebody looked
	if err != nil || st != (xsk.Statistics{}) {
		t.Errorf("%+v %v", st, err)
	}
}

// unaligned has chunks of an odd size, headers put before packets and taken off.
func unaligned(t *testing.T, w *world) {
	u, err := xsk.NewUMEM(&xsk.UMEMOptions{Chunks: 50, ChunkSize: 3001, Headroom: 11, Unaligned: true})
	if err != nil {
		t.Fatal(err)
	}
	s := must(t, w, &xsk.Options{UMEM: u, FillSize: 16})
	for i := range 200 {
		f := frame(udp, 1000+i, byte(i))
		w.in(f)
		got := receive(t, s, 1)
		if !bytes.Equal(got[0].Data, f) {
			t.Fatalf("frame %d: % x", i, got[0].Data)
		}
		got[0].Data = got[0].Data[i%100:]
		if n, err := s.Transmit(got); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if out := w.out(); !bytes.Equal(out, f[i%100:]) {
			t.Fatalf("frame %d comes out as % x", i, out)
		}
	}
	if err := u.Close(); err == nil || !strings.Contains(err.Error(), "1 sockets use it") {
		t.Errorf("a UMEM in use closes: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := u.Available(); n != 50 {
		t.Errorf("%d of 50 chunks are free after all was closed", n)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}

func deadline(t *testing.T, w *world) {
	s := must(t, w, nil)
	frames := make([]xsk.Frame, 4)
	s.SetDeadline(time.Unix(1, 0))
	if n, err := s.Receive(frames); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d frames, %v", n, err)
	}
	s.SetDeadline(time.Time{})
	w.in(frame(udp, 60, 1))
	receive(t, s, 1)
	w.in(frame(udp, 60, 2))
	s.SetDeadline(time.Unix(1, 0)) // what is there comes all the same
	for {
		n, err := s.Receive(frames)
		if n == 1 {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(n, err)
		}
	}
	late := make(chan error)
	s.SetDeadline(time.Time{})
	go func() { _, err := s.Receive(frames); late <- err }()
	s.SetDeadline(time.Now())
	if err := <-late; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func closing(t *testing.T, w *world) {
	s := must(t, w, nil)
	held := receiveOne(t, w, s)
	done := make(chan error)
	go func() { _, err := s.Receive(make([]xsk.Frame, 4)); done <- err }()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, xsk.ErrClosed) {
		t.Errorf("Receive of a closed socket: %v", err)
	}
	if _, err := s.Receive(make([]xsk.Frame, 4)); !errors.Is(err, xsk.ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Transmit([]xsk.Frame{held}); !errors.Is(err, xsk.ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Statistics(); !errors.Is(err, xsk.ErrClosed) {
		t.Error(err)
	}
	if s.Alloc(make([]xsk.Frame, 1)) != 0 {
		t.Error("a chunk of a UMEM that is gone")
	}
	s.Free(held)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// Its place is free again, and the map's entry empty: the packet goes up the stack.
	w.in(frame(udp, 60, 1))
	for end := time.Now().Add(5 * time.Second); ; {
		again, err := w.open(0, nil)
		if err == nil { // the kernel takes its time
			again.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func receiveOne(t *testing.T, w *world, s *xsk.Socket) xsk.Frame {
	t.Helper()
	w.in(frame(udp, 60, 1))
	return receive(t, s, 1)[0]
}

// wrong is what is refused, and in which words.
func wrong(t *testing.T, w *world) {
	s := must(t, w, nil)
	other, err := xsk.NewUMEM(&xsk.UMEMOptions{Chunks: 8})
	if err != nil {
		t.Fatal(err)
	}
	f := receiveOne(t, w, s)
	foreign := make([]xsk.Frame, 1)
	other.Alloc(foreign)
	own := make([]xsk.Frame, 1)
	s.Alloc(own)
	empty, elsewhere, before := own[0], own[0], f
	empty.Data = empty.Data[:0]
	elsewhere.Data = make([]byte, 60)
	s.Free(before)
	for _, c := range []struct {
		frame xsk.Frame
		want  string
	}{
		{foreign[0], "not in its chunk"}, {xsk.Frame{}, "not a frame"}, {empty, "no data"}, {elsewhere, "not in its chunk"}, {before, "given away before"},
	} {
		switch n, err := s.Transmit([]xsk.Frame{c.frame}); {
		case n != 0 || err == nil:
			t.Errorf("%d %v, want %s", n, err, c.want)
		case !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "given away"):
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for _, c := range []struct {
		queue int
		umem  xsk.UMEMOptions
		opts  xsk.Options
		want  string
	}{
		{0, xsk.UMEMOptions{}, xsk.Options{}, "bound to another UMEM"},
		{7, xsk.UMEMOptions{}, xsk.Options{}, "bind: invalid argument"},
		{-1, xsk.UMEMOptions{}, xsk.Options{}, "no such queue"},
		{0, xsk.UMEMOptions{}, xsk.Options{RxSize: 3}, "rx ring of 3 descriptors"},
		{0, xsk.UMEMOptions{}, xsk.Options{RxSize: -1, TxSize: -1}, "invalid argument"},
		{0, xsk.UMEMOptions{ChunkSize: 1000}, xsk.Options{}, "UMEM of chunks of 1000 bytes"},
		{0, xsk.UMEMOptions{ChunkSize: 3000}, xsk.Options{}, "UMEM of chunks of 3000 bytes"},
		{0, xsk.UMEMOptions{Headroom: 4000}, xsk.Options{}, "with 4000 of headroom"},
	} {
		u, err := xsk.NewUMEM(&c.umem)
		if err != nil {
			t.Fatal(err)
		}
		c.opts.UMEM = u
		if s, err := w.open(c.queue, &c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v %+v: %v, want %s", c.umem, c.opts, err, c.want)
			if err == nil {
				s.Close()
			}
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := xsk.NewUMEM(&xsk.UMEMOptions{Chunks: -1}); err == nil {
		t.Error("a UMEM of -1 chunks")
	}
}

// sharing has two sockets on one queue: which of them gets a packet the map says.
func sharing(t *testing.T, w *world) {
	u, err := xsk.NewUMEM(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	a := must(t, w, &xsk.Options{UMEM: u})
	b := must(t, w, &xsk.Options{UMEM: u, TxSize: -1})
	defer b.Close()
	defer a.Close()
	for i, s := range []*xsk.Socket{a, b, a} {
		if err := w.put(0, s); err != nil {
			t.Fatal(err)
		}
		f := frame(udp, 100, byte(i))
		w.in(f)
		if got := receive(t, s, 1); !bytes.Equal(got[0].Data, f) {
			t.Errorf("%d: % x", i, got[0].Data)
		} else if n, err := a.Transmit(got); n != 1 || err != nil { // whosever it was
			t.Error(n, err)
		}
		if got := w.out(); !bytes.Equal(got, f) {
			t.Errorf("%d comes out as % x", i, got)
		}
	}
	if _, err := b.Transmit(make([]xsk.Frame, 1)); err == nil || !strings.Contains(err.Error(), "no such ring") {
		t.Errorf("a socket without tx ring sends: %v", err)
	}
}

// several has packets lie in several frames.
func several(t *testing.T, w *world) {
	u, err := xsk.NewUMEM(&xsk.UMEMOptions{Chunks: 64, ChunkSize: 2048, Headroom: 1344})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	s := must(t, w, &xsk.Options{UMEM: u, Flags: xsk.UseSG})
	defer s.Close()
	f := frame(udp, 1400, 7)
	for range 50 {
		w.in(f)
		parts := receive(t, s, 4) // of 448 bytes
		var joined []byte
		for i, p := range parts {
			joined = append(joined, p.Data...)
			if p.More != (i < 3) {
				t.Fatalf("part %d: more %v", i, p.More)
			}
		}
		if !bytes.Equal(joined, f) {
			t.Fatalf("% x", joined)
		}
		if n, err := s.Transmit(parts); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		if out := w.out(); !bytes.Equal(out, f) {
			t.Fatalf("% x comes out", out)
		}
	}
}

// starve keeps frames until there are none, and gives them back.
func starve(t *testing.T, w *world) {
	u, err := xsk.NewUMEM(&xsk.UMEMOptions{Chunks: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	s := must(t, w, &xsk.Options{UMEM: u, FillSize: 8, Flags: xsk.Copy}) // a driver would drop them itself
	defer s.Close()
	for i := range byte(8) {
		w.in(frame(udp, 60, i))
	}
	held := receive(t, s, 8)
	for i := range byte(3) {
		w.in(frame(udp, 60, i))
	}
	for end := time.Now().Add(5 * time.Second); ; {
		st, err := s.Statistics()
		if st.RxDropped == 3 && st.RxFillRingEmptyDescs == 3 {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v %v", st, err)
		}
	}
	if got := make([]xsk.Frame, 1); s.Alloc(got) != 0 {
		t.Error("there is a chunk left")
	}
	s.Free(held...)
	s.Free(held[0], held[0]) // is not the user's any more
	if n := u.Available(); n != 8 {
		t.Errorf("%d of 8 chunks are free", n)
	}
	s.SetDeadline(time.Unix(1, 0)) // Receive fills the ring, whether something is there or not
	s.Receive(make([]xsk.Frame, 1))
	s.SetDeadline(time.Now().Add(20 * time.Second))
	w.in(frame(udp, 60, 99))
	if got := receive(t, s, 1); !bytes.Equal(got[0].Data, frame(udp, 60, 99)) {
		t.Errorf("% x", got[0].Data)
	}
}

func receiveOnly(t *testing.T, w *world) {
	s := must(t, w, &xsk.Options{TxSize: -1})
	if f := receiveOne(t, w, s); !bytes.Equal(f.Data, frame(udp, 60, 1)) {
		t.Errorf("% x", f.Data)
	}
	if s.Device() != "x" || s.Queue() != 0 || s.FD() <= 0 {
		t.Error(s.Device(), s.Queue(), s.FD())
	}
}

// TestSample: every other packet comes to the socket.
func TestSample(t *testing.T) {
	w := newWorld(t, sampleObject)
	s := must(t, w, nil)
	for i := range byte(50) {
		w.in(frame(tcp, 60, i))
	}
	var got, want []string
	for i, f := range receive(t, s, 25) {
		got = append(got, fmt.Sprintf("% x", f.Data))
		want = append(want, fmt.Sprintf("% x", frame(tcp, 60, byte(2*i))))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for w.up() < 25 {
		time.Sleep(time.Millisecond)
	}
}

// burst is a port that has a burst of frames come in when it is asked to.
type burst struct {
	frame []byte
	in    chan int
	sent  int
}

func (b *burst) Queues() int { return 1 }

func (b *burst) Receive(_ int, frames [][]byte) (int, error) {
	n, ok := <-b.in
	if !ok {
		return 0, io.EOF
	}
	for i := range n {
		frames[i] = frames[i][:copy(frames[i], b.frame)]
	}
	return n, nil
}

func (b *burst) Transmit(frames [][]byte) (int, error) {
	b.sent += len(frames)
	return len(frames), nil
}

func (b *burst) Close() error { close(b.in); return nil }

// TestAllocs: on the whole way, through program, socket and back, nothing is allocated.
func TestAllocs(t *testing.T) {
	port := &burst{frame: frame(udp, 60, 1), in: make(chan int)}
	w := newPortWorld(t, forwardObject, port)
	s := must(t, w, nil)
	s.SetDeadline(time.Time{})
	const batch = 16
	frames := make([]xsk.Frame, batch)
	round := func() {
		port.in <- batch
		for got := 0; got < batch; {
			n, err := s.Receive(frames[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if n, err := s.Transmit(frames); n != batch || err != nil {
			t.Fatal(n, err)
		}
		if s.Alloc(frames[:4]) != 4 {
			t.Fatal("no chunks")
		}
		s.Free(frames[:4]...)
	}
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations per %d frames", n, batch)
	}
	if port.sent < 200*batch {
		t.Errorf("%d frames were sent", port.sent)
	}
}
