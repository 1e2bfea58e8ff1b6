package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/skep-bpf/skep/xsk"
)

// interfaces does it in the kernel, on queue 0 of the interfaces, until ctx is done.
func interfaces(ctx context.Context, from, to string, started func()) (int, error) {
	spec, err := ebpf.LoadCollectionSpec(objectFile())
	if err != nil {
		return 0, err
	}
	umem, err := xsk.NewUMEM(nil)
	if err != nil {
		return 0, err
	}
	defer umem.Close()
	names := []string{from}
	if to != "" {
		names = append(names, to)
	}
	var socks []*xsk.Socket
	for _, name := range names {
		coll, err := ebpf.NewCollection(spec) // its map is the interface's own
		if err != nil {
			return 0, err
		}
		defer coll.Close()
		sock, err := xsk.OpenInterface(name, 0, &xsk.Options{UMEM: umem, FillSize: 1024, Flags: xsk.UseNeedWakeup})
		if err != nil {
			return 0, err
		}
		defer sock.Close()
		if err := coll.Maps["xsks"].Put(uint32(0), sock); err != nil {
			return 0, err
		}
		hook, err := attach(coll.Programs["xsk_forward"], name)
		if err != nil {
			return 0, err
		}
		defer hook.Close()
		socks = append(socks, sock)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, s := range socks {
			s.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	started()

	if to == "" {
		n, err := forward(socks[0], socks[0], answer)
		return n, ended(err)
	}
	var both sync.WaitGroup
	var n atomic.Int64
	errs := make([]error, 2)
	for i := range socks {
		both.Go(func() {
			sent, err := forward(socks[i], socks[1-i], func([]byte) {})
			n.Add(int64(sent))
			errs[i] = ended(err)
		})
	}
	both.Wait()
	return int(n.Load()), errors.Join(errs...)
}

// attach puts the program on an interface, in its driver where that can run it.
func attach(p *ebpf.Program, name string) (link.Link, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: iface.Index, Flags: link.XDPDriverMode})
	if err != nil {
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: iface.Index, Flags: link.XDPGenericMode})
	}
	return l, err
}
