package device

import (
	"io"
	"sync"
)

// pairRing is how many frames wait at an end of a pair at most; more are dropped.
const pairRing = 1024

// pair is an end of a virtual cable with one queue.
type pair struct {
	in     *ring
	out    *ring
	closed *sync.Once
}

// NewPair returns the two ends of a virtual cable, as a veth pair has them. When
// one is closed, the other ends after what waits for it.
func NewPair() (Port, Port) {
	a, b := newRing(), newRing()
	once := new(sync.Once)
	return &pair{a, b, once}, &pair{b, a, once}
}

// NewLoop returns a port that receives what it transmits, as a loopback device.
func NewLoop() Port {
	r := newRing()
	return &pair{r, r, new(sync.Once)}
}

func (*pair) Queues() int { return 1 }

func (p *pair) Receive(_ int, frames [][]byte) (int, error) { return p.in.take(frames, nil) }

func (p *pair) Transmit(frames [][]byte) (int, error) { return p.out.put(frames) }

func (p *pair) Close() error {
	p.closed.Do(func() {
		p.in.close()
		p.out.close()
	})
	return nil
}

// ring is frames on their way, in buffers that are used again.
type ring struct {
	mu      sync.Mutex
	arrived *sync.Cond
	slots   [pairRing][]byte
	head, n int
	ended   bool
}

func newRing() *ring {
	r := &ring{}
	r.arrived = sync.NewCond(&r.mu)
	return r
}

func (r *ring) put(frames [][]byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return 0, io.ErrClosedPipe
	}
	for i, f := range frames {
		if r.n == pairRing {
			return i, nil
		}
		s := &r.slots[(r.head+r.n)%pairRing]
		*s = append((*s)[:0], f...)
		r.n++
		r.arrived.Signal()
	}
	return len(frames), nil
}

// take waits for frames. A place, if not nil, says where frame i of n bytes is to
// go, now that it has come; it gives less room to one that is to be dropped.
func (r *ring) take(frames [][]byte, place func(i, n int) []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n == 0 {
		if r.ended {
			return 0, io.EOF
		}
		r.arrived.Wait()
	}
	n := min(r.n, len(frames))
	for i := range n {
		f := r.slots[r.head]
		if place != nil {
			frames[i] = place(i, len(f))
		}
		frames[i] = frames[i][:copy(frames[i], f)]
		r.head = (r.head + 1) % pairRing
	}
	r.n -= n
	return n, nil
}

func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.arrived.Broadcast()
}
