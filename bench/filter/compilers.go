package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/lang/pcap"
)

//go:embed testdata/compile.c
var compileC []byte

// everyday are expressions people type, beside those that are measured on captures.
var everyday = []string{
	"arp", "icmp", "tcp", "udp port 53", "host 192.0.2.1", "src net 10.0.0.0/8", "not port 22",
	"tcp port 80 or tcp port 443", "ip6 and udp", "vlan 7 and host 192.0.2.1", "portrange 8000-8100",
	"tcp[tcpflags] & tcp-syn != 0", "ether host 02:00:00:00:00:01", "icmp[icmptype] = icmp-echo",
	"host 192.0.2.1 and not (port 22 or port 80 or port 443)", "ip[8] < 5", "greater 1000",
	"tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
}

// compilers compares lang/pcap with libpcap: the time from text to optimised code.
func compilers(out io.Writer, o *options) error {
	lib, err := newLibpcap()
	if err != nil {
		_, err := fmt.Fprintf(out, "libpcap is left out of the comparison of compilers: %v.\n", err)
		return err
	}
	fmt.Fprintf(out, "From text to code; medians of %d interleaved rounds.\n\n", o.rounds)
	t := &measure.Table{Head: []string{"expression", "skep ÷ libpcap", "skep µs", "libpcap µs"}}
	var all []float64
	for _, e := range append(append([]string{}, expressions...), everyday...) {
		ours := func(n int) (time.Duration, error) {
			return measure.Thread(func() error {
				for range n {
					if _, err := pcap.CompileProgram(e, pcap.Ethernet, 262144, nil); err != nil {
						return err
					}
				}
				return nil
			})
		}
		theirs := func(n int) (time.Duration, error) { return lib.compile(e, n) }
		times, err := measure.Interleaved([]measure.Contender{ours, theirs}, o.rounds, 20*time.Millisecond)
		if err != nil {
			return fmt.Errorf("%s: %w", e, err)
		}
		ratio := measure.Ratio(times[0], times[1])
		all = append(all, ratio)
		t.Add(row("`"+e+"`", ratio, measure.Median(times[0])/1000, measure.Median(times[1])/1000)...)
	}
	t.Add(row("median", measure.Median(all), 0, 0)...)
	return t.Write(out)
}

// libpcap is compile.c as a process, told what to do line by line.
type libpcap struct {
	in  io.Writer
	out *bufio.Reader
}

func newLibpcap() (*libpcap, error) {
	dir, err := os.MkdirTemp("", "skep-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, binary := filepath.Join(dir, "compile.c"), filepath.Join(dir, "compile")
	if err := os.WriteFile(source, compileC, 0o644); err != nil {
		return nil, err
	}
	if text, err := exec.Command("gcc", "-O2", "-o", binary, source, "-lpcap").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %w %s", err, text)
	}
	cmd := exec.Command(binary)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// It ends with its input, that is with this process.
	return &libpcap{in, bufio.NewReader(out)}, cmd.Start()
}

func (l *libpcap) compile(expr string, n int) (time.Duration, error) {
	if _, err := fmt.Fprintln(l.in, n, expr); err != nil {
		return 0, err
	}
	var took int64
	if _, err := fmt.Fscanln(l.out, &took); err != nil {
		return 0, fmt.Errorf("libpcap: %w", err)
	}
	if took < 0 {
		return 0, fmt.Errorf("libpcap refuses the expression")
	}
	return time.Duration(took), nil
}
