package run

import "golang.org/x/sys/unix"

// clockOffsets says how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, and
// CLOCK_TAI of CLOCK_REALTIME.
func clockOffsets() (boot, tai uint64) {
	read := func(id int32) int64 {
		var ts unix.Timespec
		if unix.ClockGettime(id, &ts) != nil {
			return 0
		}
		return ts.Nano()
	}
	// Reading takes time itself: only whole milliseconds of difference are real.
	distance := func(a, b int32) uint64 {
		const ms = 1e6
		lo := read(b)
		return uint64(max(0, read(a)-lo) / ms * ms)
	}
	return distance(unix.CLOCK_BOOTTIME, unix.CLOCK_MONOTONIC), distance(unix.CLOCK_TAI, unix.CLOCK_REALTIME)
}
