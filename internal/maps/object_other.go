//go:build !linux

package maps

// taskAlive takes every task for alive: nothing tells of them here.
func taskAlive(*Object) bool { return true }
