package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/errno"
)

// Socket is an AF_XDP socket as an xskmap holds it.
type Socket interface {
	// QueueID is the receive queue the socket is bound to.
	QueueID() uint32
	// Enter tells the socket that an entry of m holds it, Leave that it does no
	// longer. A socket that was closed does not Enter; one that closes calls Drop for its entries.
	Enter(m *XSKMap, key uint32) bool
	Leave(m *XSKMap, key uint32)
}

// Sockets are the AF_XDP sockets of a machine by the numbers that stand for them
// in values of xskmaps.
type Sockets struct {
	mu   sync.Mutex
	last uint32
	all  map[uint32]Socket
}

// Add gives a socket a number.
func (t *Sockets) Add(s Socket) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[uint32]Socket{}
	}
	t.last++
	t.all[t.last] = s
	return t.last
}

// Remove forgets the socket with a number.
func (t *Sockets) Remove(fd uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, fd)
}

// Get returns the socket with a number.
func (t *Sockets) Get(fd uint32) (Socket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.all[fd]; s != nil {
		return s, nil
	}
	return nil, errno.EBADF
}
