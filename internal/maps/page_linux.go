package maps

import "os"

// pageSize is the size of a page, which ring buffers are made of.
var pageSize = uint64(os.Getpagesize())
