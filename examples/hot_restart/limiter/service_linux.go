package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/ringbuf"
)

// service is what passes from one process to the next.
type service struct {
	coll *skep.Collection
	conn *net.UDPConn
}

// run serves until ctx ends or the next process has taken over.
func run(ctx context.Context, addr, control string, quota uint64) error {
	m, err := skep.NewMachine(nil)
	if err != nil {
		return err
	}
	defer m.Close()
	s, before, err := takeOver(m, control)
	if err != nil {
		return err
	}
	if s == nil {
		if s, err = start(m, addr, quota); err != nil {
			return err
		}
	}
	defer s.close()

	// From here on there may be two of us, on one socket and one set of counters.
	ctx, stop := context.WithCancelCause(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		stop(s.serve())
	}()
	news, err := ringbuf.NewReader(s.coll.Maps["arrivals"])
	if err != nil {
		return err
	}
	defer news.Close()
	next, err := listen(control)
	if err != nil {
		return err
	}
	defer next.Close()
	if before != nil {
		before.Close() // the old process stops
		log.Printf("process %d goes on at %s", os.Getpid(), s.conn.LocalAddr())
	} else {
		log.Printf("process %d serves %s", os.Getpid(), s.conn.LocalAddr())
	}
	go greet(news)
	go func() { stop(s.handOver(next)) }()
	<-ctx.Done()
	s.conn.SetReadDeadline(time.Now()) // what was read is answered still
	<-served
	return context.Cause(ctx)
}

// start is the service from nothing.
func start(m *skep.Machine, addr string, quota uint64) (*service, error) {
	img, err := m.LoadImageFile(objectFile())
	if err != nil {
		return nil, err
	}
	if err := img.SetConst("quota", strconv.FormatUint(quota, 10)); err != nil {
		return nil, err
	}
	coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Share: true})
	if err != nil {
		return nil, err
	}
	at, err := net.ResolveUDPAddr("udp4", addr)
	if err == nil {
		var conn *net.UDPConn
		if conn, err = net.ListenUDP("udp4", at); err == nil {
			return &service{coll, conn}, nil
		}
	}
	coll.Close()
	return nil, err
}

func (s *service) close() {
	s.conn.Close()
	s.coll.Close()
}

// listen is where the next process comes. Whoever may write the socket may take the service: its owner alone.
func listen(control string) (*net.UnixListener, error) {
	if err := os.Remove(control); err != nil && !errors.Is(err, os.ErrNotExist) { // the one of the process before
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: control, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by then it is the next one's
	return l, os.Chmod(control, 0o600)
}

// handOver waits for the next process, gives it everything, and returns once that one serves.
func (s *service) handOver(l *net.UnixListener) error {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return err
		}
		err = s.give(conn)
		conn.Close()
		if err == nil {
			return context.Canceled
		}
		log.Print("not handed over: ", err) // and go on
	}
}

// give sends maps and program, then the socket, and waits for a byte that says that the other serves.
func (s *service) give(conn *net.UnixConn) error {
	if err := s.coll.Send(conn); err != nil {
		return err
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { _, _, sent = conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil) }); err != nil {
		return err
	}
	if sent != nil {
		return sent
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// successor tells the process before, by a byte, that it may go.
type successor struct{ *net.UnixConn }

func (s successor) Close() error {
	s.Write([]byte{1})
	return s.UnixConn.Close()
}

// takeOver takes the service from the process that runs; there may be none.
func takeOver(m *skep.Machine, control string) (*service, io.Closer, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: control, Net: "unix"})
	if err != nil {
		return nil, nil, nil
	}
	coll, err := m.Receive(conn)
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("take over: %w", err)
	}
	udp, err := receiveSocket(conn)
	if err != nil {
		coll.Close()
		conn.Close()
		return nil, nil, fmt.Errorf("take over: %w", err)
	}
	return &service{coll, udp}, successor{conn}, nil
}

func receiveSocket(conn *net.UnixConn) (*net.UDPConn, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("no socket came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("no socket came")
	}
	f := os.NewFile(uintptr(fds[0]), "udp")
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// client is a value of the map clients.
type client struct{ Served, Refused uint64 }

// serve answers each request that the program lets in with the number of its client's requests so far.
func (s *service) serve() error {
	buf, frame := make([]byte, 1500), make([]byte, 14+20+1500)
	frame[12], frame[13], frame[14] = 8, 0, 0x45 // IPv4
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		addr := from.Addr().Unmap().As4()
		copy(frame[14+12:], addr[:])
		copy(frame[14+20:], buf[:n])
		verdict, err := s.coll.Programs["limiter"].Run(&skep.RunOptions{Data: frame[:14+20+n]})
		if err != nil {
			return err
		}
		const ok = 0 // TC_ACT_OK
		if verdict != ok {
			continue
		}
		var c client
		if err := s.coll.Maps["clients"].Lookup(addr[:], &c); err != nil {
			return err
		}
		if _, err := s.conn.WriteToUDPAddrPort(fmt.Appendf(nil, "%d %d\n", os.Getpid(), c.Served), from); err != nil {
			return err
		}
	}
}

// greet tells of clients that come for the first time.
func greet(news *ringbuf.Reader) {
	for {
		rec, err := news.Read()
		if err != nil {
			return
		}
		if addr, ok := netip.AddrFromSlice(rec.RawSample); ok {
			log.Printf("process %d has a new client, %s", os.Getpid(), addr)
		}
	}
}
