package run

import _ "unsafe" // for go:linkname

// procPin keeps the goroutine on its P until procUnpin and returns the P's
// number. Between the two no preemption happens, so no other goroutine of this P
// can come between reading the number and taking the vCPU that goes with it.
//
//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()
