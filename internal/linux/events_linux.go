package linux

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
)

// Events takes what programs write to user space out of a map of type ringbuf
// or perf_event_array.
type Events struct {
	ring *ringbuf.Reader // one of the two
	perf *perf.Reader
}

// perfBuffer is the size of each CPU's perf buffer, in bytes.
const perfBuffer = 64 << 10

// Events begins to read the map. A perf_event_array has a buffer for each CPU
// from then on; before, output to it fails.
func (m *Map) Events() (*Events, error) {
	fd, err := unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	em, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, err
	}
	defer em.Close()
	e := &Events{}
	switch m.def.Type {
	case catalog.MapRingBuf:
		if e.ring, err = ringbuf.NewReader(em); err == nil {
			e.ring.SetDeadline(past)
		}
	case catalog.MapPerfEventArray:
		if e.perf, err = perf.NewReader(em, perfBuffer); err == nil {
			e.perf.SetDeadline(past)
		}
	default:
		err = fmt.Errorf("maps of type %v give no events", m.def.Type)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// past is a deadline that makes readers return what is there, and not wait.
var past = time.Unix(1, 0)

// Drain calls f for each record that waits; lost says how many before it found
// no room, for which there is a call with an empty sample of its own.
func (e *Events) Drain(f func(sample []byte, lost uint64)) error {
	for {
		var err error
		if e.ring != nil {
			var r ringbuf.Record
			if r, err = e.ring.Read(); err == nil {
				f(r.RawSample, 0)
			}
		} else {
			var r perf.Record
			if r, err = e.perf.Read(); err == nil {
				f(r.RawSample, r.LostSamples)
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Close ends the reading.
func (e *Events) Close() error {
	if e.ring != nil {
		return e.ring.Close()
	}
	return e.perf.Close()
}
