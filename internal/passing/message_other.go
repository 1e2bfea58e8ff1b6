//go:build !linux

package passing

import (
	"net"
	"os"

	"github.com/skep-bpf/skep/internal/mem"
)

// Send fails: no memory is shared here.
func Send(*net.UnixConn, []byte, []*os.File) error { return mem.ErrNotShared }

// Receive fails: no memory is shared here.
func Receive(*net.UnixConn) ([]byte, []*os.File, error) { return nil, nil, mem.ErrNotShared }

// Close closes files.
func Close(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
