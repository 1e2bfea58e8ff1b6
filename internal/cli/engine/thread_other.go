//go:build !linux

package engine

// Only Linux has the engine whose thread this is about.

func pinCPU() (undo func()) { return func() {} }

func threadID() int { return 0 }
