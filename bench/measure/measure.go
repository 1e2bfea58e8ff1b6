// Package measure takes times in interleaved rounds and prints ratios of them.
//
// On a machine that others use, a time says little by itself. What is to be
// compared is therefore measured in turns, again and again, as processor time of
// the thread that does the work; every round gives one ratio, and the median of those is what counts.
package measure

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Thread returns the processor time f takes on the thread that calls it, in the kernel too.
func Thread(f func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, err := threadTime()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	end, err := threadTime()
	return end - start, err
}

func threadTime() (time.Duration, error) {
	return clock(unix.CLOCK_THREAD_CPUTIME_ID, "a thread")
}

// Process returns the processor time the whole process takes while f runs:
// that of a garbage collection which f makes necessary, too.
func Process(f func() error) (time.Duration, error) {
	start, err := clock(unix.CLOCK_PROCESS_CPUTIME_ID, "a process")
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	end, err := clock(unix.CLOCK_PROCESS_CPUTIME_ID, "a process")
	return end - start, err
}

func clock(id int32, of string) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", of, err)
	}
	return time.Duration(t.Nano()), nil
}

// Contender does a thing n times and says what that took.
type Contender func(n int) (time.Duration, error)

// Interleaved runs the contenders in turns, rounds times, each as often as it
// takes to fill slice, and returns the nanoseconds per time of every round:
// one row per contender, nil ones left out as nil.
func Interleaved(contenders []Contender, rounds int, slice time.Duration) ([][]float64, error) {
	times := make([]int, len(contenders))
	for i, c := range contenders {
		if c == nil {
			continue
		}
		n, err := calibrate(c, slice)
		if err != nil {
			return nil, err
		}
		times[i] = n
	}
	out := make([][]float64, len(contenders))
	for range rounds {
		for i, c := range contenders {
			if c == nil {
				continue
			}
			d, err := c(times[i])
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], float64(d)/float64(times[i]))
		}
	}
	return out, nil
}

// calibrate finds how often c has to run to take about slice. It warms c up on the way.
func calibrate(c Contender, slice time.Duration) (int, error) {
	for n := 16; ; n *= 4 {
		d, err := c(n)
		if err != nil {
			return 0, err
		}
		if d >= slice/4 || n >= 1<<28 {
			return max(int(float64(n)*float64(slice)/float64(max(d, slice/4))), 1), nil
		}
	}
}

// Median returns the middle of values, NaN-free and not empty.
func Median[T cmp.Ordered](values []T) T {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}

// Ratio is the median over the rounds of ours divided by theirs.
func Ratio(ours, theirs []float64) float64 {
	ratios := make([]float64, min(len(ours), len(theirs)))
	for i := range ratios {
		ratios[i] = ours[i] / theirs[i]
	}
	return Median(ratios)
}
