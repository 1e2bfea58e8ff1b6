//go:build unix && !linux

package mem

// noReserve is nothing here: see Linux's.
const noReserve = 0
