package device

import (
	"io"
	"sync"

	"github.com/skep-bpf/skep/hook"
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

func (p *pair) Transmit(frames [][]byte) (int, error) { return p.out.put(frames, nil) }

// receiveFrom is Receive with what else is known of the frames, where the port
// keeps it; transmitTo is Transmit with it.
func receiveFrom(p Port, queue int, frames [][]byte, metas []hook.Meta) (int, error) {
	if p, ok := p.(*pair); ok {
		return p.in.take(frames, metas)
	}
	return p.Receive(queue, frames) // metas stay zero
}

func transmitTo(p Port, frames [][]byte, metas []hook.Meta) (int, error) {
	if p, ok := p.(*pair); ok {
		return p.out.put(frames, metas)
	}
	return p.Transmit(frames)
}

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
	slots   [pairRing]slot
	head, n int
	ended   bool
}

type slot struct {
	frame []byte
	meta  hook.Meta
}

func newRing() *ring {
	r := &ring{}
	r.arrived = sync.NewCond(&r.mu)
	return r
}

func (r *ring) put(frames [][]byte, metas []hook.Meta) (int, error) {
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
		s.frame, s.meta = append(s.frame[:0], f...), hook.Meta{}
		if metas != nil {
			s.meta = metas[i]
		}
		r.n++
		r.arrived.Signal()
	}
	return len(frames), nil
}

func (r *ring) take(frames [][]byte, metas []hook.Meta) (int, error) {
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
		s := &r.slots[r.head]
		frames[i] = frames[i][:copy(frames[i], s.frame)]
		if metas != nil {
			metas[i] = s.meta
		}
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
