//go:build !linux

package maps

// pageSize is what Linux on amd64 has; ring buffers are plain memory here.
const pageSize uint64 = 4096
