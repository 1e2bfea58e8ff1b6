package mem

import "golang.org/x/sys/unix"

// noReserve keeps the system from refusing a large block of which only little
// may ever be written, such as a hash table for its largest number of elements.
const noReserve = unix.MAP_NORESERVE
