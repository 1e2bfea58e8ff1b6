//go:build linux && (amd64 || arm64)

package serve

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
)

// Object tells of a pidfd or a file of the client's (bpfsys.Objects).
func (c *client) Object(kind catalog.MapOwners, fd int32) (maps.Identity, uint64, errno.Errno) {
	return maps.ObjectAt(int(c.pid), kind, fd)
}
