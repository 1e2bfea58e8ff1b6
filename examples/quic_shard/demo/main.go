// The demo has QUIC-like clients change their address in front of workers that
// share one, first with a hash of addresses to choose among them, then with the program:
//
//	go run ./examples/quic_shard/demo
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

func main() {
	object := flag.String("object", "examples/quic_shard/quic_shard.o", "the program")
	workers := flag.Int("workers", 4, "how many workers share the address, 1 to 64")
	clients := flag.Int("clients", 1000, "how many clients connect and change their address")
	flag.Parse()
	if *workers < 1 || *workers > 64 || *clients < 0 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "demo: 1 to 64 -workers, and -clients not below 0; see -help")
		os.Exit(2)
	}
	if err := demo(*object, *workers, *clients); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(object string, workers, clients int) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "chosen by\tclients\tkept\tlost\tper worker\t\n")
	for _, name := range []string{"hash", "program"} {
		ws, kept, err := try(object, name == "program", workers, clients)
		if err != nil {
			return err
		}
		var each []int
		for _, w := range ws {
			served, strange := w.figures()
			each = append(each, served+strange)
		}
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%v\t\n", name, clients, kept, clients-kept, each)
	}
	return out.Flush()
}

// machine shapes the machine the program runs on.
var machine skep.MachineOptions

// try has the clients talk to workers in user space, chosen by the program or by hash.
func try(object string, program bool, n, clients int) (ws []*worker, kept int, err error) {
	m, err := skep.NewMachine(&machine)
	if err != nil {
		return nil, 0, err
	}
	defer m.Close()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Conn: conn})
	if err != nil {
		return nil, 0, err
	}
	coll, err := load(m, object, n)
	if err != nil {
		return nil, 0, err
	}
	defer coll.Close()
	for i := range n {
		c, err := g.ListenPacket()
		if err != nil {
			return nil, 0, err
		}
		if err := coll.Maps["workers"].Put(uint32(i), c.Socket()); err != nil {
			return nil, 0, err
		}
		w := newWorker(i, n, c)
		ws = append(ws, w)
		go w.serve()
	}
	if program {
		if err := g.Attach(coll.Programs["quic_shard"]); err != nil {
			return nil, 0, err
		}
	}
	served := make(chan error)
	go func() { served <- g.Serve() }()
	for range clients {
		ok, err := client(conn.LocalAddr().String())
		if err != nil {
			return nil, 0, err
		}
		if ok {
			kept++
		}
	}
	conn.Close()
	err = <-served
	g.Close()
	return ws, kept, err
}

// load loads the object for n workers.
func load(m *skep.Machine, object string, n int) (*skep.Collection, error) {
	img, err := m.LoadImageFile(object)
	if err != nil {
		return nil, err
	}
	if err := img.SetConst("nr_workers", strconv.Itoa(n)); err != nil {
		return nil, err
	}
	return m.LoadCollection(img)
}
