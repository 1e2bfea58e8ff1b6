package run

import (
	"sync"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// timers keeps the bpf_timer objects of a machine's maps, by address. The
// bytes in the map value stay zero: what a timer is lies here, out of reach of
// programs (kernel/bpf/helpers.c, bpf_async_*).
//
// With a [ManualClock] timers fire in Advance; with any other, the runtime's
// timers wake a goroutine that takes a vCPU.
type timers struct {
	m      *Machine
	manual *ManualClock // nil: real time

	mu     sync.Mutex
	quiet  *sync.Cond // a callback has ended
	byAddr map[uint64]*timer
	onCPU  []*timer // per vCPU: whose callback runs there
	seq    uint64   // counts starts: equal expiries fire in the order they were set
	woken  int      // calls of fire under way
	closed bool
}

// timer is one bpf_timer that has been initialised.
type timer struct {
	addr uint64 // of the struct bpf_timer
	off  uint64 // of it in its map value
	m    maps.Map
	real bool // absolute times are wall-clock times

	prog *Program // holds a reference; nil: no callback
	fn   uint64

	armed   bool
	at, seq uint64 // expiry on the monotonic clock, and which start it was
	cpu     int    // where it was started
	pinned  bool   // and where it must run
	wake    *time.Timer

	firing     *CPU // whose callback is under way, nil: none
	cancelling int  // callers of Cancel waiting for it, themselves in callbacks
}

// Flags of bpf_timer_start, and the one clock id that makes a difference.
const (
	timerAbs      = 1 << 0
	timerCPUPin   = 1 << 1
	clockRealtime = 0
)

func newTimers(m *Machine) *timers {
	t := &timers{m: m, byAddr: map[uint64]*timer{}, onCPU: make([]*timer, m.opts.CPUs)}
	t.quiet = sync.NewCond(&t.mu)
	if manual, ok := m.clock.(*ManualClock); ok {
		t.manual = manual
		manual.drive(t)
	}
	return t
}

// Init follows bpf_timer_init; the helper has checked the clock id.
func (t *timers) Init(addr uint64, mp maps.Map, flags uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.byAddr[addr] != nil:
		return errno.EBUSY.Ret()
	case t.m.users.add(maps.Unwrap(mp), 0) == 0:
		return errno.EPERM.Ret()
	}
	var off uint64
	for _, f := range mp.Def().Special {
		if f.Kind == catalog.SpecialTimer {
			off = uint64(f.Off)
		}
	}
	t.byAddr[addr] = &timer{addr: addr, off: off, m: mp, real: flags == clockRealtime}
	return 0
}

// SetCallback follows bpf_timer_set_callback: the timer holds the program from now on.
func (t *timers) SetCallback(e *helpers.Env, addr, fn uint64) uint64 {
	p := t.m.cpus[e.CPU].prog
	t.mu.Lock()
	tm := t.byAddr[addr]
	if tm == nil {
		t.mu.Unlock()
		return errno.EINVAL.Ret()
	}
	old := tm.prog
	p.Acquire()
	tm.prog, tm.fn = p, fn
	t.mu.Unlock()
	drop(old)
	return 0
}

// drop gives back a reference a timer held. It must not be called under the
// lock: the program's maps may go with it, and their timers.
func drop(p *Program) {
	if p != nil {
		p.Close()
	}
}

// Start follows bpf_timer_start; the helper has checked the flags.
func (t *timers) Start(e *helpers.Env, addr, nsecs, flags uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	tm := t.byAddr[addr]
	if tm == nil || tm.prog == nil || t.closed {
		return errno.EINVAL.Ret()
	}
	now := t.m.clock.Monotonic()
	tm.at = now + nsecs
	if flags&timerAbs != 0 {
		tm.at = nsecs
		if tm.real {
			tm.at = nsecs - t.m.clock.Real() + now
		}
	}
	t.seq++
	tm.armed, tm.seq = true, t.seq
	tm.cpu, tm.pinned = e.CPU, flags&timerCPUPin != 0
	if t.manual == nil {
		t.wakeLater(tm, time.Duration(tm.at-now))
	}
	return 0
}

// Cancel follows bpf_timer_cancel: 1 if the timer was armed or its callback
// under way, and the callback is forgotten. It waits for a callback on another
// CPU, unless two callbacks would wait for each other.
func (t *timers) Cancel(e *helpers.Env, addr uint64) uint64 {
	t.mu.Lock()
	tm := t.byAddr[addr]
	if tm == nil {
		t.mu.Unlock()
		return errno.EINVAL.Ret()
	}
	own := t.onCPU[e.CPU]
	if own == tm || own != nil && own.cancelling > 0 {
		t.mu.Unlock()
		return errno.EDEADLK.Ret()
	}
	active := tm.armed || tm.firing != nil
	tm.disarm()
	old := tm.prog
	tm.prog = nil
	if own != nil {
		tm.cancelling++
	}
	for tm.firing != nil {
		t.quiet.Wait()
	}
	if own != nil {
		tm.cancelling--
	}
	t.mu.Unlock()
	drop(old)
	if active {
		return 1
	}
	return 0
}

// disarm keeps tm from firing. The lock is held.
func (tm *timer) disarm() {
	tm.armed = false
	if tm.wake != nil {
		tm.wake.Stop()
	}
}

// free forgets the timer at addr: its map element is going away.
func (t *timers) free(addr uint64) {
	t.mu.Lock()
	tm := t.byAddr[addr]
	var old *Program
	if tm != nil {
		tm.disarm()
		old, tm.prog = tm.prog, nil
		delete(t.byAddr, addr)
	}
	t.mu.Unlock()
	drop(old)
}

// freeAll forgets the timers in mp.
func (t *timers) freeAll(mp maps.Map) {
	t.mu.Lock()
	var held []*Program
	for addr, tm := range t.byAddr {
		if maps.Unwrap(tm.m) == mp {
			tm.disarm()
			held = append(held, tm.prog)
			tm.prog = nil
			delete(t.byAddr, addr)
		}
	}
	t.mu.Unlock()
	for _, p := range held {
		drop(p)
	}
}

// close stops all timers and waits for callbacks under way.
func (t *timers) close() {
	if t.manual != nil {
		t.manual.release(t)
	}
	t.mu.Lock()
	t.closed = true
	var held []*Program
	for addr, tm := range t.byAddr {
		tm.disarm()
		held = append(held, tm.prog)
		tm.prog = nil
		delete(t.byAddr, addr)
	}
	for t.woken > 0 {
		t.quiet.Wait()
	}
	t.mu.Unlock()
	for _, p := range held {
		drop(p)
	}
}

// wakeLater lets the runtime fire tm after d. The lock is held.
func (t *timers) wakeLater(tm *timer, d time.Duration) {
	seq := tm.seq
	if tm.wake != nil {
		tm.wake.Stop()
	}
	tm.wake = time.AfterFunc(d, func() { t.fire(tm, seq) })
}

// first tells when the next timer is due. Only manual clocks ask.
func (t *timers) first() (at uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tm := t.earliest(); tm != nil {
		return tm.at, true
	}
	return 0, false
}

// earliest is the armed timer that is due first. The lock is held.
func (t *timers) earliest() *timer {
	var first *timer
	for _, tm := range t.byAddr {
		if tm.armed && (first == nil || tm.at < first.at || tm.at == first.at && tm.seq < first.seq) {
			first = tm
		}
	}
	return first
}

// fireFirst fires the timer that is due first.
func (t *timers) fireFirst() {
	t.mu.Lock()
	tm := t.earliest()
	if tm == nil {
		t.mu.Unlock()
		return
	}
	seq := tm.seq
	t.mu.Unlock()
	t.fire(tm, seq)
}

// fire runs the callback of the start numbered seq, unless it has been
// cancelled meanwhile (bpf_timer_cb).
func (t *timers) fire(tm *timer, seq uint64) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.woken++
	cpu, fixed := tm.cpu, tm.pinned || t.manual != nil
	t.mu.Unlock()

	var c *CPU
	if fixed {
		c = t.m.AcquireCPU(cpu)
	} else {
		c = t.m.Acquire()
	}
	t.fireOn(c, tm, seq)
	c.Release()

	t.mu.Lock()
	t.woken--
	t.quiet.Broadcast()
	t.mu.Unlock()
}

// fireOn is fire on a vCPU.
func (t *timers) fireOn(c *CPU, tm *timer, seq uint64) {
	// From here on the map value cannot go away: either the element is deleted
	// before the check below, then tm is disarmed, or its memory waits for us.
	t.m.Epoch.Enter(c.id)
	defer t.m.Epoch.Leave(c.id)
	t.mu.Lock()
	if !tm.armed || tm.seq != seq || tm.prog == nil || t.closed {
		t.mu.Unlock()
		return
	}
	tm.armed = false
	tm.firing, t.onCPU[c.id] = c, tm
	p, fn := tm.prog, tm.fn
	p.Acquire() // the callback may replace itself
	t.mu.Unlock()

	// An error is a fault of skep or a spent budget; there is nobody to tell but
	// the trace.
	if _, err := c.callback(p, fn, tm.m.Def(), tm.addr-tm.off); err != nil {
		t.m.Trace(c.id, &p.Info, []byte("timer callback: "+err.Error()))
	}

	t.mu.Lock()
	tm.firing, t.onCPU[c.id] = nil, nil
	t.quiet.Broadcast()
	t.mu.Unlock()
	p.Close()
}

// keyOf returns the address of the key that belongs to a map value: beside it
// in a hash table's element; the index of an array's is made up in the CPU's scratch word.
func (c *CPU) keyOf(def *catalog.MapDef, value uint64) uint64 {
	if def.Type != catalog.MapArray {
		return value - uint64(def.KeySize+7)&^7
	}
	base, size := mem.Load64(def.Ptr+maps.HeaderBase), uint64(mem.Load32(def.Ptr+maps.HeaderElemSize))
	mem.Store32(c.scratch.Addr(), uint32((value-base)/size))
	return c.scratch.Addr()
}
