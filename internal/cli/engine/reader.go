package engine

import (
	"errors"
	"os"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/perf"
	"github.com/skep-bpf/skep/ringbuf"
)

// perfBuffer is the size of each CPU's perf buffer, in bytes: that of the kernel's engine.
const perfBuffer = 64 << 10

// past is a deadline that makes readers return what is there, and not wait.
var past = time.Unix(1, 0)

// newReader begins to read a map of type ringbuf or perf_event_array.
func newReader(m *skep.Map) (reader, error) {
	if m.Type() == catalog.MapPerfEventArray {
		r, err := perf.NewReader(m, perfBuffer)
		if err != nil {
			return nil, err
		}
		r.SetDeadline(past)
		return &perfReader{r}, nil
	}
	r, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, err
	}
	r.SetDeadline(past)
	return &ringReader{Reader: r}, nil
}

type ringReader struct {
	*ringbuf.Reader
	rec ringbuf.Record
}

func (r *ringReader) next() ([]byte, uint64, bool, error) {
	err := r.ReadInto(&r.rec)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, 0, false, nil
	}
	return r.rec.RawSample, 0, err == nil, err
}

type perfReader struct{ *perf.Reader }

func (r *perfReader) next() ([]byte, uint64, bool, error) {
	rec, err := r.Read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, 0, false, nil
	}
	return rec.RawSample, rec.LostSamples, err == nil, err
}
