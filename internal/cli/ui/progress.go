package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress shows on a terminal how far a long job is. It appears only after a
// while, so that short jobs leave no trace.
type Progress struct {
	w       io.Writer
	width   int
	current func() (done, total int64)
	start   time.Time
	stop    chan struct{}
	wait    sync.WaitGroup
}

// progressDelay is how long a job must take to be worth a bar; progressEvery how often it moves.
const (
	progressDelay = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// NewProgress starts a bar on standard error if that is a terminal, else one
// that does nothing. current gives bytes done and in all; total 0 is not known.
// It is called from another goroutine. Stop ends it.
func (s *Streams) NewProgress(current func() (done, total int64)) *Progress {
	p := &Progress{w: s.Err, width: width(s.Err), current: current, start: time.Now(), stop: make(chan struct{})}
	if s.progress {
		p.wait.Go(p.run)
	}
	return p
}

func (p *Progress) run() {
	delay := time.NewTimer(progressDelay)
	defer delay.Stop()
	select {
	case <-p.stop:
		return
	case <-delay.C:
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		done, total := p.current()
		fmt.Fprintf(p.w, "\r%s\x1b[K", bar(done, total, time.Since(p.start), p.width))
		select {
		case <-p.stop:
			fmt.Fprint(p.w, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}

// Stop removes the bar.
func (p *Progress) Stop() {
	close(p.stop)
	p.wait.Wait()
}

// bar is one line: how much is done, how fast, how long it will take.
//
//	[#########···········]  45%  482 MB of 1.07 GB  213 MB/s  2s left
func bar(done, total int64, took time.Duration, width int) string {
	rate := float64(done) / max(took.Seconds(), 1e-3)
	if total <= 0 {
		return fmt.Sprintf("%s  %s/s", Bytes(done), Bytes(int64(rate)))
	}
	done = min(done, total)
	left := "?"
	if rate > 0 {
		left = (time.Duration(float64(total-done)/rate) * time.Second).String()
	}
	text := fmt.Sprintf("%3d%%  %s of %s  %s/s  %s left", done*100/total, Bytes(done), Bytes(total), Bytes(int64(rate)), left)
	cells := min(width-len(text)-6, 40)
	if cells < 5 {
		return text
	}
	full := int(done * int64(cells) / total)
	return "[" + strings.Repeat("#", full) + strings.Repeat("·", cells-full) + "]  " + text
}

// Bytes prints a number of bytes with three digits and a decimal unit.
func Bytes(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, unit := float64(n), 0
	for v >= 999.5 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	switch {
	case unit == 0:
		return fmt.Sprintf("%d B", n)
	case v < 9.995:
		return fmt.Sprintf("%.2f %s", v, units[unit])
	case v < 99.95:
		return fmt.Sprintf("%.1f %s", v, units[unit])
	}
	return fmt.Sprintf("%.0f %s", v, units[unit])
}

// Counted prints a number of things, one of which is called so: "1 packet", "2,000 packets".
func Counted(n uint64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + one + "s"
}

// Count prints a number with its thousands apart: 1,234,567.
func Count(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
