package socket

import "sync"

// Table is the sockets of one machine by number, which stands for a descriptor
// in the values of maps, and by address.
type Table struct {
	// Retire frees memory once no run can have it any more; nil: at once.
	Retire func(free func())

	mu    sync.RWMutex
	last  uint32
	socks map[uint32]*Socket
}

// Number returns the socket's number, giving it the next one if it has none. It
// is 0 for a socket of another table, and for one that is closed.
func (t *Table) Number(s *Socket) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.table == t && !s.closed:
		return s.Sock.Number
	case s.table != nil || s.closed:
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.socks == nil {
		t.socks = map[uint32]*Socket{}
	}
	for taken := true; taken; {
		if t.last++; t.last >= 1<<31-1 {
			t.last = 1
		}
		_, taken = t.socks[t.last]
	}
	t.socks[t.last] = s
	s.table, s.Sock.Number = t, t.last
	return t.last
}

// Get returns the socket with a number, or nil.
func (t *Table) Get(number uint32) *Socket {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.socks[number]
}

// At returns the socket whose Sock lies at addr, or nil for one without a number.
func (t *Table) At(addr uint64) *Socket {
	if addr == 0 {
		return nil
	}
	s := t.Get(At(addr).Number)
	if s == nil || s.Addr() != addr {
		return nil
	}
	return s
}

func (t *Table) drop(s *Socket) {
	t.mu.Lock()
	delete(t.socks, s.Sock.Number)
	t.mu.Unlock()
	if t.Retire == nil {
		s.block.Free()
		return
	}
	t.Retire(s.block.Free)
}
