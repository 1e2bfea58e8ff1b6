package observe

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// never is a poll that finds no record.
func never() bool { return false }

// TestWait: what ends a wait. The bubble's clock moves only when all wait.
func TestWait(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *Waiter, wake chan struct{}, found *bool)
		want error
	}{
		{"a record", func(_ *Waiter, wake chan struct{}, found *bool) { *found = true; wake <- struct{}{} }, nil},
		{"closed", func(w *Waiter, _ chan struct{}, _ *bool) { w.Close() }, ErrClosed},
		{"flushed", func(w *Waiter, _ chan struct{}, _ *bool) { w.Flush() }, ErrFlushed},
		{"a deadline set", func(w *Waiter, _ chan struct{}, _ *bool) { w.SetDeadline(time.Now().Add(time.Minute)) }, os.ErrDeadlineExceeded},
		{"woken for nothing, then closed", func(w *Waiter, wake chan struct{}, _ *bool) {
			wake <- struct{}{}
			w.Close()
		}, ErrClosed},
	} {
		for _, channels := range []int{1, 3} { // one is waited for by select, several by reflection
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, found := NewWaiter(), false
					wakes := make([]<-chan struct{}, channels)
					var last chan struct{}
					for i := range wakes {
						last = make(chan struct{})
						wakes[i] = last
					}
					done := make(chan error)
					go func() { done <- w.Wait(func() bool { return found }, wakes...) }()
					synctest.Wait() // it sleeps
					c.do(w, last, &found)
					if err := <-done; !errors.Is(err, c.want) {
						t.Errorf("%d channels: %v, want %v", channels, err, c.want)
					}
				})
			})
		}
	}
}

// TestOwnerActsBefore: what the owner did before the wait counts, and in which order.
func TestOwnerActsBefore(t *testing.T) {
	w := NewWaiter()
	w.Flush()
	if err := w.Wait(func() bool { return true }); err != nil {
		t.Errorf("a record there: %v, want it before the flush", err)
	}
	if err := w.Wait(never); err != ErrFlushed {
		t.Errorf("flushed: %v", err)
	}
	w.SetDeadline(time.Unix(1, 0))
	if err := w.Wait(never); err != os.ErrDeadlineExceeded {
		t.Errorf("a flush ends one wait alone; the deadline is past: %v", err)
	}
	if w.Closed() || !w.Close() || w.Close() || !w.Closed() {
		t.Error("the first Close alone closes")
	}
	w.Flush()
	w.SetDeadline(time.Time{})
	if err := w.Wait(func() bool { return true }); err != ErrClosed {
		t.Errorf("closed: %v, whatever is there", err)
	}
}
