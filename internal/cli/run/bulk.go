package run

import (
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
)

// bulk is packets that wait to be run together: the way into a program is then paid
// once for all of them. Events and traced lines are fetched after as many packets
// as without, so whoever looks on sees the same.
type bulk struct {
	engine.Bulk
	packets []waiting
}

// waiting is what is known of a packet besides its bytes.
type waiting struct {
	file   string
	number int // in the file
	time   time.Time
	size   int // bytes the program sees
	cut    int // bytes of the packet that the capture has not
}

// newBulk is nil where packets have to be run one by one.
func (w *work) newBulk() (*bulk, error) {
	if len(w.o.Pcaps) == 0 { // there is one packet
		return nil, nil
	}
	switch w.total.Program.Type {
	case catalog.ProgXDP, catalog.ProgSchedCls, catalog.ProgSchedAct:
	default: // filters: what they let pass is written as it was read
		if w.out != nil {
			return nil, nil
		}
	}
	b, err := w.prog.Bulk(traceEvery)
	if b == nil || err != nil {
		return nil, err
	}
	return &bulk{Bulk: b}, nil
}

// add lets a packet wait.
func (b *bulk) add(p waiting, frame []byte) error {
	err := b.Set(len(b.packets), frame)
	if err == nil {
		b.packets = append(b.packets, p)
	}
	return err
}

// waiting is how many packets wait.
func (w *work) waiting() uint64 {
	if w.bulk == nil {
		return 0
	}
	return uint64(len(w.bulk.packets))
}

// flush runs the program on the packets that wait, and counts the outcomes.
func (w *work) flush() error {
	if w.waiting() == 0 {
		return nil
	}
	packets := w.bulk.packets
	w.bulk.packets = packets[:0]
	done, took, failed := w.bulk.Run(len(packets))
	w.total.Took += took
	for i := range done {
		if err := w.outcome(&packets[i], w.bulk.Result(i), nil); err != nil {
			return atPacket(packets[i].file, packets[i].number, err)
		}
	}
	if failed != nil {
		return atPacket(packets[done].file, packets[done].number, failed)
	}
	return nil
}
