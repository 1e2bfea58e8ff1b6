package device

import (
	"io"
	"sync"
	"time"

	"github.com/skep-bpf/skep/internal/capture"
)

// Captures is a device between two captures: it receives the one's packets, as
// fast as they are taken, and what it transmits is written to the other.
type Captures struct {
	reading sync.Mutex
	in      *capture.Reader
	buf     []byte // for frames made of packets without one

	mu     sync.Mutex
	out    *capture.Writer // nil: what is transmitted goes nowhere
	clock  func() time.Time
	closed bool
}

// OpenCaptures opens a device between captures, pcap or pcapng, plain or packed.
// Either name may be empty. Packets of other link types get the Ethernet header they
// would have. The output appears under its name when [Captures.Commit] is called.
func OpenCaptures(in, out string) (*Captures, error) {
	c := &Captures{clock: time.Now}
	var err error
	if in != "" {
		if c.in, err = capture.Open(in); err != nil {
			return nil, err
		}
	}
	if out != "" {
		if c.out, err = capture.Create(out); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Queues is 1.
func (c *Captures) Queues() int { return 1 }

// Receive returns the next packets of the input, io.EOF behind the last.
func (c *Captures) Receive(_ int, frames [][]byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for n := range frames {
		if c.in == nil || c.isClosed() {
			return n, io.EOF
		}
		p, err := c.in.Next()
		if err != nil {
			return n, err // io.EOF too
		}
		f, err := p.Frame(c.buf)
		if err != nil {
			return n, err
		}
		if p.LinkType != capture.Ethernet {
			c.buf = f
		}
		frames[n] = frames[n][:copy(frames[n], f)]
	}
	return len(frames), nil
}

func (c *Captures) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Transmit writes frames to the output.
func (c *Captures) Transmit(frames [][]byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, io.ErrClosedPipe
	}
	if c.out == nil {
		return len(frames), nil
	}
	for i, f := range frames {
		if err := c.out.Write(capture.Packet{Length: len(f), Time: c.clock(), LinkType: capture.Ethernet}, f); err != nil {
			return i, err
		}
	}
	return len(frames), nil
}

// Commit completes the output, which appears under its name.
func (c *Captures) Commit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return nil
	}
	out := c.out
	c.out = nil
	return out.Commit()
}

// Close ends the device. An output that was not committed is removed.
func (c *Captures) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	if c.out != nil {
		c.out.Abort()
		c.out = nil
	}
	c.mu.Unlock()
	if was || c.in == nil {
		return nil
	}
	c.reading.Lock() // until Receive has noticed
	defer c.reading.Unlock()
	return c.in.Close()
}
