// Package pcap compiles tcpdump's filter language, pcap-filter(7), to classic
// BPF: the same instructions libpcap 1.10 makes, without libpcap.
//
//	f, err := pcap.Compile("tcp port 80 and host 10.0.0.1", pcap.Ethernet, 262144, nil)
//	if f.Match(packet) { … }
//
// An expression goes through these stages, a file or a few each:
//
//	scan       token.go, scan.go       text → tokens
//	parse      parse*.go, ast.go       tokens → syntax tree
//	check      check.go, resolve.go    names → numbers, qualifiers refused
//	flow graph condition.go, …         tree → blocks of instructions
//	optimise   optimise.go, opt_*.go   blocks → fewer of them
//	emit       emit.go                 blocks → program
//
// Options.Trace shows the graph and its code between them.
package pcap

import (
	"sync"

	"github.com/skep-bpf/skep/classic"
)

// Source says where the packets come from, which a few primitives depend on.
type Source uint8

const (
	// Dead is no source, as pcap_open_dead has it.
	Dead Source = iota
	// File is a capture file. inbound, outbound and ifindex are refused where
	// the link header does not tell them.
	File
	// SwappedFile is a capture file of a machine of the other byte order.
	SwappedFile
	// Live is a Linux interface, of which the kernel tells more than the
	// packet holds: the VLAN tag it has taken off.
	Live
)

func (s Source) isFile() bool { return s == File || s == SwappedFile }

// NetmaskUnknown is the netmask that makes "ip broadcast" be refused.
const NetmaskUnknown = 0xffffffff

// Options are what Compile can be told. The zero value, and nil, are those of
// tcpdump -d.
type Options struct {
	NoOptimize bool        // leave the code as it is first made, as tcpdump -O
	Netmask    uint32      // of the captured net, for "ip broadcast"
	Source     Source      // where the packets come from
	Resolver   Resolver    // for names; nil is System
	Trace      func(Stage) // called after each stage and each pass
}

// MaxBlocks bounds the flow graph. The optimiser's work grows with its square.
const MaxBlocks = 1 << 14

// maxExpr bounds the length of an expression, in bytes.
const maxExpr = 1 << 20

// Compile compiles an expression for packets of a link type, of which at most
// snaplen bytes are captured: a match returns snaplen. The empty expression
// matches every packet. Errors are of type *Error.
func Compile(expr string, link LinkType, snaplen int, opts *Options) (*Filter, error) {
	prog, err := CompileProgram(expr, link, snaplen, opts)
	if err != nil {
		return nil, err
	}
	return NewFilter(prog)
}

// CompileProgram compiles as Compile does, to the bare program.
func CompileProgram(expr string, link LinkType, snaplen int, opts *Options) ([]classic.Instruction, error) {
	k := compilers.Get().(*compiler)
	defer compilers.Put(k)
	if opts == nil {
		opts = &defaults
	}
	prog, err := k.compile(expr, link, snaplen, opts)
	if err != nil {
		err.Expr = expr
		return nil, err
	}
	return prog, nil
}

var (
	defaults  Options
	compilers = sync.Pool{New: func() any { return new(compiler) }}
)

// compiler is the state of all stages, kept from one expression to the next.
type compiler struct {
	nodes     slab[node]
	targets   slab[target]
	parser    parser
	graph     graph
	prog      program
	optimiser optimiser
}

func (k *compiler) compile(expr string, link LinkType, snaplen int, opts *Options) ([]classic.Instruction, *Error) {
	switch {
	case snaplen == 0:
		return nil, newError(ErrRejectsAll, 0, 0, "snaplen of 0 rejects all packets")
	case len(expr) > maxExpr:
		return nil, newError(ErrTooComplex, 0, 0, "expression is longer than %d bytes", maxExpr)
	}
	k.nodes.reset()
	k.targets.reset()
	g := &k.graph
	g.reset(opts)
	if g.start(link); g.err != nil {
		return nil, g.err
	}

	p := &k.prog
	*p = program{}
	k.parser.nodes = &k.nodes
	tree, err := k.parser.parse(expr)
	if err != nil {
		return nil, err
	}
	if tree == nil {
		p.root = g.ret(uint32(snaplen))
		opts.trace("flow graph", p)
		return p.emit(), nil
	}

	check := checker{resolver: opts.Resolver, targets: &k.targets}
	if check.resolver == nil {
		check.resolver = System{}
	}
	// What an identifier is refused for is reported only when its turn comes:
	// something before it may be refused for its link type.
	check.check(tree)
	g.refused = check.err

	all := g.condition(tree)
	p.root = g.finish(all, snaplen)
	switch {
	case g.err != nil:
		return nil, g.err
	case g.blocks.count() > MaxBlocks:
		return nil, newError(ErrTooComplex, 0, 0, "filter is too complex: more than %d blocks", MaxBlocks)
	}
	opts.trace("flow graph", p)
	if !opts.NoOptimize && !g.asIs {
		if err := k.optimiser.optimise(p, opts); err != nil {
			return nil, err
		}
		if p.root.code == classic.RET|classic.K && p.root.k == 0 {
			return nil, newError(ErrRejectsAll, 0, 0, "expression rejects all packets")
		}
	}
	return p.emit(), nil
}
