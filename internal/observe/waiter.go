// Package observe is what the readers of programs' output have in common.
package observe

import (
	"errors"
	"os"
	"reflect"
	"sync"
	"time"
)

// Errors of [Waiter.Wait], besides [os.ErrDeadlineExceeded].
var (
	ErrClosed  = os.ErrClosed
	ErrFlushed = errors.New("reader flushed")
)

// Waiter is the blocking half of a reader: it waits for records, and for the
// reader's owner to close it, flush it or set a deadline. Its methods are safe
// for concurrent use.
type Waiter struct {
	mu       sync.Mutex
	owner    chan struct{} // closed, and made anew, when the owner did something
	deadline time.Time     // zero: never
	closed   bool
	flushed  bool
}

// NewWaiter returns a waiter without a deadline.
func NewWaiter() *Waiter { return &Waiter{owner: make(chan struct{})} }

// Close ends all waiting, now and later. It reports false if it was closed before.
func (w *Waiter) Close() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.closed = true
	close(w.owner)
	return true
}

// Closed reports whether Close was called.
func (w *Waiter) Closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// SetDeadline makes waiting end at t; the zero time means never.
func (w *Waiter) SetDeadline(t time.Time) { w.rouse(func() { w.deadline = t }) }

// Flush makes the next wait that finds no record end with [ErrFlushed], once.
func (w *Waiter) Flush() { w.rouse(func() { w.flushed = true }) }

func (w *Waiter) rouse(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	change()
	close(w.owner)
	w.owner = make(chan struct{})
}

// Wait calls poll until it reports a record, sleeping between calls until one
// of the wake channels receives.
func (w *Waiter) Wait(poll func() bool, wake ...<-chan struct{}) error {
	for {
		w.mu.Lock()
		closed, owner, deadline := w.closed, w.owner, w.deadline
		w.mu.Unlock()
		if closed {
			return ErrClosed
		}
		if poll() {
			return nil
		}
		if w.takeFlush() {
			return ErrFlushed
		}
		if !sleep(owner, deadline, wake) {
			return os.ErrDeadlineExceeded
		}
	}
}

func (w *Waiter) takeFlush() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.flushed
	w.flushed = false
	return was
}

// sleep returns true when a channel receives, false at the deadline.
func sleep(owner <-chan struct{}, deadline time.Time, wake []<-chan struct{}) bool {
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	if len(wake) == 1 {
		select {
		case <-wake[0]:
		case <-owner:
		case <-late:
			return false
		}
		return true
	}
	cases := []reflect.SelectCase{
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(late)},
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(owner)},
	}
	for _, ch := range wake {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)})
	}
	chosen, _, _ := reflect.Select(cases)
	return chosen != 0
}
