//go:build unix && !linux

package mem

// noReserve and preferHuge are nothing here: see Linux's.
const noReserve = 0

func preferHuge([]byte) {}
