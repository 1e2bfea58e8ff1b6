package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// What this demo speaks has QUIC's packet headers (RFC 9000, 17.2 and 17.3) and
// nothing behind them: enough for who deals out packets by connection ID.
//
//	long header   11xxxxxx  version (4)  DCID length  DCID  SCID length  SCID
//	short header  01xxxxxx  DCID (cidLen)
const (
	longHeader  = 0xc0
	shortHeader = 0x40
	cidLen      = 8
	version     = 1
)

var errShort = errors.New("a packet too short for its header")

// long is a packet with a long header.
func long(dcid, scid []byte) []byte {
	b := append([]byte{longHeader, 0, 0, 0, version, byte(len(dcid))}, dcid...)
	return append(append(b, byte(len(scid))), scid...)
}

// short is a packet with a short header.
func short(dcid []byte) []byte { return append([]byte{shortHeader}, dcid...) }

// ids returns a packet's connection IDs; a short header has no source.
func ids(b []byte) (dcid, scid []byte, err error) {
	take := func() (id []byte) {
		if err != nil || len(b) < 1 || len(b) < 1+int(b[0]) {
			err = errShort
			return nil
		}
		id, b = b[1:1+b[0]], b[1+b[0]:]
		return id
	}
	switch {
	case len(b) > 5 && b[0]&0x80 != 0:
		b = b[5:]
		return take(), take(), err
	case len(b) >= 1+cidLen && b[0]&0x80 == 0:
		return b[1 : 1+cidLen], nil, nil
	}
	return nil, nil, errShort
}

// newID makes up a connection ID.
func newID() []byte {
	id := make([]byte, cidLen)
	rand.Read(id) // never fails
	return id
}

// worker is one of the server's. It knows its own connections and no other's.
type worker struct {
	number int // 0 … workers−1
	of     int // how many there are
	conn   net.PacketConn

	mu    sync.Mutex
	known map[string]bool
	// served are packets of connections it knows, strange those of others.
	served, strange int
}

// newWorker makes a worker that has nothing to do yet.
func newWorker(number, of int, conn net.PacketConn) *worker {
	return &worker{number: number, of: of, conn: conn, known: map[string]bool{}}
}

// serve answers until the connection is closed: to a client's first packet with a
// connection ID that names the worker, to others with their own first byte.
func (w *worker) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := w.conn.ReadFrom(b)
		if err != nil {
			return
		}
		dcid, scid, err := ids(b[:n])
		if err != nil {
			continue
		}
		w.conn.WriteTo(w.answer(b[0], dcid, scid), from)
	}
}

func (w *worker) answer(first byte, dcid, scid []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first&0x80 != 0 {
		mine := newID()
		mine[0] -= mine[0]%byte(w.of) - byte(w.number) // modulo w.of it is the worker's number
		if int(mine[0])%w.of != w.number {             // beyond 255
			mine[0] = byte(w.number)
		}
		w.known[string(mine)] = true
		w.served++
		return long(scid, mine)
	}
	if !w.known[string(dcid)] {
		w.strange++
		return []byte{0} // a stateless reset, nearly
	}
	w.served++
	return []byte{1}
}

// figures are those of the worker so far.
func (w *worker) figures() (served, strange int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.served, w.strange
}

// client opens a connection and sends a packet on it from a second address. It
// reports whether the server still knew it there.
func client(server string) (kept bool, err error) {
	home, err := net.Dial("udp", server)
	if err != nil {
		return false, err
	}
	defer home.Close()
	answer, err := exchange(home, long(newID(), newID()))
	if err != nil {
		return false, err
	}
	_, id, err := ids(answer)
	if err != nil {
		return false, fmt.Errorf("the server's answer: %w", err)
	}
	street, err := net.Dial("udp", server)
	if err != nil {
		return false, err
	}
	defer street.Close()
	answer, err = exchange(street, short(id))
	return err == nil && answer[0] == 1, err
}

func exchange(c net.Conn, packet []byte) ([]byte, error) {
	c.SetDeadline(time.Now().Add(10 * time.Second)) // a packet may be lost
	if _, err := c.Write(packet); err != nil {
		return nil, err
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err == nil && n == 0 {
		err = errShort
	}
	return b[:n], err
}
