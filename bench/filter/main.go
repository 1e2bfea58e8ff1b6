// Command filter compares skep filter with tcpdump over whole captures, the
// machine it runs filters on with golang.org/x/net/bpf's, and its compiler with libpcap's.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/skep-bpf/skep/bench/measure"
)

// expressions are those the comparison is about.
var expressions = []string{
	"ip",
	"tcp port 80",
	"udp port 53 or (vlan and udp port 53)",
	"(tcp[tcpflags] & (tcp-syn|tcp-fin) != 0) and not src and dst net 10.0.0.0/8 and (port 80 or portrange 8000-8100)",
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flag.Int64Var(&o.size, "size", 1<<30, "least size of a capture in bytes")
	flag.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "skep-bench-filter"), "`directory` for the captures, made once")
	flag.BoolVar(&o.quick, "quick", false, "leave the whole captures out")
	flag.Parse()
	if err := run(os.Stdout, &o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-filter:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds int
	size   int64
	dir    string
	quick  bool
}

func run(out io.Writer, o *options) error {
	parts := []func(io.Writer, *options) error{files, machines, compilers}
	if o.quick {
		parts = parts[1:]
	}
	for _, part := range parts {
		if err := part(out, o); err != nil {
			return err
		}
	}
	return nil
}

// row formats numbers behind a name, "–" for those that are not there.
func row(name string, values ...float64) []string {
	cells := []string{name}
	for _, v := range values {
		if v == 0 {
			cells = append(cells, "–")
		} else {
			cells = append(cells, measure.Number(v))
		}
	}
	return cells
}
