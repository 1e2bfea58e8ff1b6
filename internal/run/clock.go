package run

import (
	"sync"
	"time"
	_ "unsafe" // for go:linkname
)

// Clock is what programs read the time from, in nanoseconds.
type Clock interface {
	Monotonic() uint64 // CLOCK_MONOTONIC: since some start, without suspended time
	Boot() uint64      // CLOCK_BOOTTIME: the same with suspended time
	Real() uint64      // CLOCK_REALTIME: since 1970, UTC
	TAI() uint64       // CLOCK_TAI: since 1970 without leap seconds
}

// nanotime is the runtime's monotonic clock, on Linux CLOCK_MONOTONIC itself,
// so that a program's times compare with those user space reads. The standard
// library gives it out only as differences.
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

// systemClock reads the system's clocks. The distance of those that Go does not
// read cheaply is measured once.
type systemClock struct{ boot, tai uint64 }

// SystemClock returns the clock of the machine skep runs on.
func SystemClock() Clock {
	c := &systemClock{}
	c.boot, c.tai = clockOffsets()
	return c
}

func (c *systemClock) Monotonic() uint64 { return uint64(nanotime()) }
func (c *systemClock) Boot() uint64      { return uint64(nanotime()) + c.boot }
func (c *systemClock) Real() uint64      { return uint64(time.Now().UnixNano()) }
func (c *systemClock) TAI() uint64       { return uint64(time.Now().UnixNano()) + c.tai }

// ManualClock stands still until it is told to go on: then timers that fall due
// run in order, on the goroutine that called Advance.
type ManualClock struct {
	mu       sync.Mutex
	now      uint64
	realBase uint64
	timers   []*timers
}

// NewManualClock makes a clock whose monotonic time is now and whose wall clock is real.
func NewManualClock(now uint64, real time.Time) *ManualClock {
	return &ManualClock{now: now, realBase: uint64(real.UnixNano()) - now}
}

// Monotonic returns the time of the clock.
func (c *ManualClock) Monotonic() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Boot is Monotonic: the machine never sleeps.
func (c *ManualClock) Boot() uint64 { return c.Monotonic() }

// Real returns the wall clock, which runs with the monotonic one.
func (c *ManualClock) Real() uint64 { return c.Monotonic() + c.realBase }

// TAI is Real: no leap seconds are known.
func (c *ManualClock) TAI() uint64 { return c.Real() }

// Advance moves the time on by d. A timer that falls due on the way sees the
// clock at its own expiry. It runs on the vCPU that started it, so the caller
// may hold none.
func (c *ManualClock) Advance(d time.Duration) {
	end := c.Monotonic() + uint64(d)
	for {
		due, at := c.next(end)
		c.mu.Lock()
		c.now = max(c.now, at)
		c.mu.Unlock()
		if due == nil {
			return
		}
		due.fireFirst()
	}
}

// next returns whose timers fall due first, and when; nil and end if none do before end.
func (c *ManualClock) next(end uint64) (*timers, uint64) {
	c.mu.Lock()
	all := c.timers
	c.mu.Unlock()
	var due *timers
	at := end
	for _, t := range all {
		if first, ok := t.first(); ok && (first < at || first == at && due == nil) {
			due, at = t, first
		}
	}
	return due, at
}

// drive makes the clock fire t's timers.
func (c *ManualClock) drive(t *timers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers = append(c.timers[:len(c.timers):len(c.timers)], t)
}

// release ends what drive began.
func (c *ManualClock) release(t *timers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kept []*timers
	for _, other := range c.timers {
		if other != t {
			kept = append(kept, other)
		}
	}
	c.timers = kept
}
