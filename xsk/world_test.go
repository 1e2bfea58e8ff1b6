package xsk_test

import (
	"context"
	"os"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/xsk"
)

// engine is what the tests run programs on.
var engine skep.MachineOptions

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &engine)) }

// world is a device whose other end is in the test's hands, with the program of
// an object on it.
type world struct {
	name string
	open func(queue int, o *xsk.Options) (*xsk.Socket, error)
	put  func(key uint32, s *xsk.Socket) error
	in   func(frame []byte) // has a frame come in
	out  func() []byte      // waits for one that comes out
	up   func() int         // how many went up the stack; where the engine counts them
	dev  *device.Device     // of skep
}

// newWorld makes one of skep.
func newWorld(t testing.TB, object string) *world {
	t.Helper()
	near, far := device.NewPair()
	return newPortWorld(t, object, near).at(t, far)
}

// at has what comes in and goes out pass the other end of a cable.
func (w *world) at(t testing.TB, far device.Port) *world {
	w.in = func(f []byte) {
		for n := 0; n == 0; {
			var err error
			if n, err = far.Transmit([][]byte{f}); err != nil {
				t.Error(err)
				return
			}
		}
	}
	w.out = func() []byte {
		buf := [][]byte{make([]byte, 4096)}
		if n, err := far.Receive(0, buf); n != 1 {
			t.Errorf("%d frames came out, %v", n, err)
			return nil
		}
		return buf[0]
	}
	return w
}

// newPortWorld makes one whose device has a port.
func newPortWorld(t testing.TB, object string, port device.Port) *world {
	t.Helper()
	img, err := image.LoadFile(object, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newImageWorld(t, img, port)
}

func newImageWorld(t testing.TB, img *image.Image, port device.Port) *world {
	t.Helper()
	opts := engine
	opts.CPUs = 2
	m, err := skep.NewMachine(&opts)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := m.LoadCollection(img)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	up := make(chan struct{}, 1<<16)
	network := device.New(m, &device.Options{Stack: func(*device.Device, []byte) { up <- struct{}{} }})
	dev, err := network.Add("x", port)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range coll.Programs {
		if err := dev.SetXDP(p, device.Native); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- network.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		coll.Close()
		m.Close()
	})
	return &world{
		name: "skep",
		open: func(q int, o *xsk.Options) (*xsk.Socket, error) { return xsk.Open(dev, q, o) },
		put:  func(key uint32, s *xsk.Socket) error { return coll.Maps["xsks"].Put(key, s) },
		up:   func() int { return len(up) },
		dev:  dev,
	}
}
