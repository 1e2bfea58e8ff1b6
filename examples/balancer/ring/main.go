// Command ring writes what the balancer's maps hold, as assignments for
// skep run --set @FILE: virtual addresses, real servers, and the ring that says
// which server a flow's hash means.
//
//	go run ./examples/balancer/ring > examples/balancer/balancer.maps
//
// The ring is filled as in Maglev (Eisenbud et al., NSDI 2016, section 3.4):
// each server has its own order of preference over all entries, and they take
// turns, each taking the free entry it likes best. Every server gets nearly the
// same number of entries, and when one goes, few entries change but its own.
package main

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"os"
)

// size is how many entries a virtual address has in the ring: RING_SIZE of balancer.c.
const size = 251

// Flags of a real server: enum real_flags of balancer.c.
const (
	ipv6 = 1
	gue  = 2
)

type real struct {
	addr  string
	flags int
}

type vip struct {
	addr     string
	port     int
	protocol int
	reals    []int // numbers of its servers
}

// reals are the servers; number 0 stands for none.
var reals = []real{
	1: {"::ffff:10.0.0.1", 0},
	2: {"::ffff:10.0.0.2", gue},
	3: {"::ffff:10.0.0.3", 0},
	4: {"2001:db8:f::4", ipv6},
	5: {"2001:db8:f::5", ipv6 | gue},
}

var vips = []vip{
	{"::ffff:198.51.100.80", 80, 6, []int{1, 2, 3, 4}},
	{"2001:db8:80::80", 443, 17, []int{4, 5}},
}

func main() {
	log.SetFlags(0)
	out := bufio.NewWriter(os.Stdout)
	write(out)
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func write(out io.Writer) {
	fmt.Fprintln(out, "# Made by go run ./examples/balancer/ring.")
	for n, r := range reals {
		if n > 0 {
			fmt.Fprintf(out, "reals[%d]={ .addr = %s, .flags = %d }\n", n, r.addr, r.flags)
		}
	}
	for n, v := range vips {
		fmt.Fprintf(out, "vips[{ .addr = %s, .port = %d, .protocol = %d }]={ .number = %d }\n", v.addr, v.port, v.protocol, n)
		for i, r := range fill(v.reals) {
			fmt.Fprintf(out, "ring[%d]=%d\n", n*size+i, r)
		}
	}
}

// fill returns the server of each entry.
func fill(servers []int) []int {
	entries := make([]int, size) // 0: free
	next := make([]int, len(servers))
	for taken := 0; taken < size; {
		for i, server := range servers {
			if taken == size {
				break
			}
			for {
				at := preference(server, next[i])
				next[i]++
				if entries[at] == 0 {
					entries[at] = server
					taken++
					break
				}
			}
		}
	}
	return entries
}

// preference is the nth entry in a server's order: a walk from an offset in
// steps that both come from a hash of its address. size is prime, so the walk
// visits every entry.
func preference(server, n int) int {
	h := fnv.New64a()
	io.WriteString(h, reals[server].addr)
	sum := h.Sum64()
	offset, skip := sum>>32%size, sum&0xffffffff%(size-1)+1
	return int((offset + uint64(n)*skip) % size)
}
