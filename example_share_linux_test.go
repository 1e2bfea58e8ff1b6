package skep_test

import (
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
)

// Two processes have one map: here both are this one, with a machine each, and the socket is a pair.
func ExampleCollection_Send() {
	here, there := connected()
	go func() { // the process that has the map
		m, err := skep.NewMachine(nil)
		if err != nil {
			log.Fatal(err)
		}
		coll, err := m.LoadCollectionWithOptions(&image.Image{
			Name: "hits", License: "GPL", ByteOrder: binary.NativeEndian,
			Maps: []*image.Map{{Name: "hits", Type: skep.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 100}},
		}, skep.CollectionOptions{Share: true})
		if err != nil {
			log.Fatal(err)
		}
		if err := coll.Maps["hits"].Put(uint32(80), uint64(1)); err != nil {
			log.Fatal(err)
		}
		if err := coll.Send(there); err != nil {
			log.Fatal(err)
		}
		if err := coll.Maps["hits"].Put(uint32(443), uint64(2)); err != nil { // seen by the other too
			log.Fatal(err)
		}
		there.Close()
	}()

	m, err := skep.NewMachine(nil) // the process that gets it
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.Receive(here)
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	here.Read(make([]byte, 1)) // until the other has closed
	for _, port := range []uint32{80, 443} {
		var hits uint64
		if err := coll.Maps["hits"].Lookup(port, &hits); err != nil {
			log.Fatal(err)
		}
		fmt.Println(port, hits)
	}
	// Output:
	// 80 1
	// 443 2
}

// connected returns two ends of a unix socket.
func connected() (a, b *net.UnixConn) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addr := &net.UnixAddr{Name: dir + "/socket", Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	if a, err = net.DialUnix("unix", nil, addr); err != nil {
		log.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		log.Fatal(err)
	}
	return a, b
}
