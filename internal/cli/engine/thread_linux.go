package engine

import "golang.org/x/sys/unix"

// pinCPU keeps the calling thread on the first CPU it may use, and returns what
// undoes that. Where it is not allowed the thread goes where it will.
func pinCPU() (undo func()) {
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return func() {}
	}
	for cpu := range len(old) * 64 {
		if old.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return func() {}
	}
	return func() { unix.SchedSetaffinity(0, &old) }
}

// threadID is the calling thread's, as the kernel's tracer knows it.
func threadID() int { return unix.Gettid() }
