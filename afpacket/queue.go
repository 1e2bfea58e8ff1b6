package afpacket

import (
	"os"
	"sync"
	"time"
)

// queue is the packets that wait for a socket's reader.
type queue struct {
	qmu     sync.Mutex
	arrived sync.Cond
	waiting []record
	spare   [][]byte // buffers of packets that were read
	used    int      // bytes as the kernel counts them
	limit   int
	count   Stats
	err     error // the reader gets it once
	ended   bool

	late  bool // the deadline has passed
	timer *time.Timer
}

// record is a packet that waits.
type record struct {
	data []byte
	cost int
	info Info
}

func (q *queue) init(limit int) { q.limit, q.arrived.L = limit, &q.qmu }

// What a packet costs besides its bytes, as Linux counts socket buffers on 64-bit machines: struct sk_buff, the room in
// front, and behind the bytes what they share; all but the first in a size that the allocator has.
const (
	skbOverhead = 256
	skbRoom     = 16
	skbShared   = 320
	smallHead   = 576
	leastLarge  = 1024
)

// cost is what a frame of n bytes takes of a socket's buffer (truesize).
func cost(n int) int {
	need := skbRoom + n + skbShared
	if need <= smallHead {
		return skbOverhead + smallHead
	}
	size := leastLarge
	for size < need {
		size *= 2
	}
	return skbOverhead + size
}

// room is how a queue stands, as fanout groups ask: enough if a quarter of it is free behind the packet.
type room uint8

const (
	none room = iota
	little
	enough
)

// room says how a queue stands behind a frame of n bytes (__packet_rcv_has_room).
func (q *queue) room(n int) room {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	switch left := q.limit - q.used - cost(n); {
	case left > q.limit/4:
		return enough
	case left > 0:
		return little
	}
	return none
}

// put keeps a packet whose frame had so many bytes.
func (q *queue) put(data []byte, frame int, info Info) {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	if q.ended {
		return
	}
	q.count.Packets++
	if q.used >= q.limit {
		q.count.Drops++
		return
	}
	var b []byte
	if n := len(q.spare); n > 0 {
		b, q.spare = q.spare[n-1], q.spare[:n-1]
	}
	r := record{append(b[:0], data...), cost(frame), info}
	q.used += r.cost
	q.waiting = append(q.waiting, r)
	q.arrived.Signal()
}

// maxSpare is how many buffers are kept.
const maxSpare = 64

// take waits for a packet.
func (q *queue) take(buf []byte) (n int, info Info, err error) {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	for len(q.waiting) == 0 || q.err != nil {
		switch {
		case q.ended:
			return 0, Info{}, errClosed
		case q.err != nil:
			err, q.err = q.err, nil
			return 0, Info{}, err
		case q.late:
			return 0, Info{}, os.ErrDeadlineExceeded
		}
		q.arrived.Wait()
	}
	r := q.waiting[0]
	if len(q.waiting) == 1 {
		q.waiting = q.waiting[:0:cap(q.waiting)]
	} else {
		q.waiting = q.waiting[1:]
	}
	q.used -= r.cost
	n = copy(buf, r.data)
	if len(q.spare) < maxSpare {
		q.spare = append(q.spare, r.data)
	}
	return n, r.info, nil
}

// fail has the reader learn of an error.
func (q *queue) fail(err error) {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	q.err = err
	q.arrived.Broadcast()
}

func (q *queue) close() {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	q.ended = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.waiting, q.spare = nil, nil
	q.arrived.Broadcast()
}

func (q *queue) setDeadline(t time.Time) {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	left := time.Until(t)
	q.late = !t.IsZero() && left <= 0
	if q.late {
		q.arrived.Broadcast()
	}
	if t.IsZero() || q.late || q.ended {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		q.qmu.Lock()
		defer q.qmu.Unlock()
		if q.timer == timer { // and not one that was set meanwhile
			q.late = true
			q.arrived.Broadcast()
		}
	})
	q.timer = timer
}

func (q *queue) stats() Stats {
	q.qmu.Lock()
	defer q.qmu.Unlock()
	s := q.count
	q.count = Stats{}
	return s
}
