package hook

import (
	"sync"
	"time"
)

// deadline is a moment that readers wait for besides what they wait for. The
// zero value never comes.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	late  chan struct{} // closed when the moment has come
}

// wait returns what is closed when the moment comes.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == nil {
		d.late = make(chan struct{})
	}
	return d.late
}

// set moves the moment; the zero time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == nil {
		d.late = make(chan struct{})
	}
	if d.timer != nil && !d.timer.Stop() {
		<-d.late // it has fired, or is about to
	}
	d.timer = nil
	select {
	case <-d.late: // for who waits from now on
		d.late = make(chan struct{})
	default:
	}
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(d.late)
	default:
		late := d.late
		d.timer = time.AfterFunc(left, func() { close(late) })
	}
}
