package classic

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Packets is a capture, read from the beginning.
type Packets interface {
	// Next returns a packet and its length on the wire, behind the last io.EOF.
	Next() (packet []byte, length int, err error)
	Close() error
}

// Debugger steps through programs over the packets of a capture, in the manner
// of the kernel's bpf_dbg. Commands are lines; see [Debugger.Exec].
type Debugger struct {
	// Out takes what commands print.
	Out io.Writer
	// Open opens the capture of the command "load pcap".
	Open func(name string) (Packets, error)
	// Machine is the one whose rules programs keep; 0 means [Socket].
	Machine Machine
	// Aux is what ancillary loads give, as far as packets do not tell.
	Aux Aux

	prog   []Instruction
	breaks []int

	file    string
	packets Packets
	number  int // of the current packet, from 1
	packet  []byte
	length  int

	state   State
	history []State // before each step, for steps back
	stopped bool    // at a breakpoint, which the next step or run passes
}

// What commands fail with, for errors.Is.
var (
	ErrQuit     = errors.New("quit")
	ErrCommand  = errors.New("no such command")
	ErrNotReady = errors.New("nothing loaded")
)

// maxHistory bounds the steps back.
const maxHistory = 1 << 16

// Close gives the capture up.
func (d *Debugger) Close() error {
	if d.packets == nil {
		return nil
	}
	err := d.packets.Close()
	d.packets = nil
	return err
}

// debugCommand is a command of the debugger.
type debugCommand struct {
	name, args, doc string
	run             func(d *Debugger, arg string) error
}

// debugCommands returns the commands in the order of help. A name may be
// shortened as long as it begins no other.
func debugCommands() []debugCommand {
	return []debugCommand{
		{"load", "bpf CODE | pcap FILE", "load a program (bpf_asm's or tcpdump -ddd's numbers) or a capture", (*Debugger).load},
		{"select", "N", "go to packet N, the first is 1", (*Debugger).selectPacket},
		{"step", "[N]", "run N instructions, or take back -N", (*Debugger).step},
		{"run", "[N]", "run over N packets, or all, up to a breakpoint", (*Debugger).run},
		{"breakpoint", "[PC | reset]", "stop before an instruction; show or clear the stops", (*Debugger).breakpoint},
		{"disassemble", "[PC]", "show the program, or one instruction", (*Debugger).disassemble},
		{"dump", "", "show the program as C", (*Debugger).dump},
		{"registers", "", "show where the program is, its registers and memory", (*Debugger).registers},
		{"help", "", "show this", (*Debugger).help},
		{"quit", "", "leave", func(*Debugger, string) error { return ErrQuit }},
	}
}

// Exec runs a command line. Its error is of the user's making, or that of the
// capture; after any but [ErrQuit] the next line can be run.
func (d *Debugger) Exec(line string) error {
	name, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	if name == "" {
		return nil
	}
	commands := debugCommands()
	found := -1
	for i, c := range commands {
		if c.name == name {
			found = i
			break
		}
		if strings.HasPrefix(c.name, name) {
			if found >= 0 {
				return fmt.Errorf("%w: %s could be %s or %s", ErrCommand, name, commands[found].name, c.name)
			}
			found = i
		}
	}
	if found < 0 {
		return fmt.Errorf("%w: %s; there is help", ErrCommand, name)
	}
	return commands[found].run(d, strings.TrimSpace(arg))
}

func (d *Debugger) printf(format string, args ...any) { fmt.Fprintf(d.Out, format, args...) }

func (d *Debugger) help(string) error {
	for _, c := range debugCommands() {
		d.printf("%-34s %s\n", c.name+" "+c.args, c.doc)
	}
	return nil
}

func (d *Debugger) load(arg string) error {
	kind, what, _ := strings.Cut(arg, " ")
	what = strings.TrimSpace(what)
	switch {
	case kind == "bpf" && what != "":
		prog, err := readNumbers("bpf", what)
		if err != nil {
			return err
		}
		return d.Load(prog)
	case kind == "pcap" && what != "":
		return d.LoadPackets(what)
	}
	return fmt.Errorf("%w: load bpf CODE, load pcap FILE", ErrCommand)
}

func (d *Debugger) machine() Machine {
	if d.Machine == 0 {
		return Socket
	}
	return d.Machine
}

// Load sets the program.
func (d *Debugger) Load(prog []Instruction) error {
	if err := Check(prog, d.machine()); err != nil {
		return err
	}
	d.prog, d.breaks = slices.Clone(prog), nil
	d.reset()
	return nil
}

// LoadPackets sets the capture, and its first packet.
func (d *Debugger) LoadPackets(name string) error {
	old := d.packets
	p, err := d.Open(name)
	if err != nil {
		return err
	}
	if old != nil {
		old.Close()
	}
	d.file, d.packets, d.number = name, p, 0
	return d.nextPacket()
}

// reset begins the program anew on the current packet.
func (d *Debugger) reset() {
	d.state, d.history, d.stopped = State{}, d.history[:0], false
}

// nextPacket goes on; behind the last packet it returns io.EOF.
func (d *Debugger) nextPacket() error {
	d.reset()
	packet, length, err := d.packets.Next()
	if err != nil {
		return err
	}
	d.packet, d.length = packet, length
	d.Aux.Length = length
	d.number++
	return nil
}

// rewind goes back to the first packet.
func (d *Debugger) rewind() error {
	if err := d.Close(); err != nil {
		return err
	}
	return d.LoadPackets(d.file)
}

// ready reports what is missing for a run.
func (d *Debugger) ready() error {
	switch {
	case d.prog == nil:
		return fmt.Errorf("%w: load bpf CODE first", ErrNotReady)
	case d.packets == nil:
		return fmt.Errorf("%w: load pcap FILE first", ErrNotReady)
	}
	return nil
}

// number reads a command's number.
func number(arg string, low, high int) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%w: %q is no number from %d to %d", ErrCommand, arg, low, high)
	}
	return n, nil
}

func (d *Debugger) selectPacket(arg string) error {
	if d.packets == nil {
		return fmt.Errorf("%w: load pcap FILE first", ErrNotReady)
	}
	n, err := number(arg, 1, 1<<31-1)
	if err != nil {
		return err
	}
	if n < d.number {
		if err := d.rewind(); err != nil {
			return err
		}
	}
	for d.number < n {
		if err := d.nextPacket(); errors.Is(err, io.EOF) {
			last := d.number
			return errors.Join(fmt.Errorf("%w: packet %d of %d", ErrCommand, n, last), d.rewind())
		} else if err != nil {
			return err
		}
	}
	d.reset()
	return nil
}

func (d *Debugger) step(arg string) error {
	if err := d.ready(); err != nil {
		return err
	}
	n := 1
	if arg != "" {
		var err error
		if n, err = number(arg, -maxHistory, maxHistory); err != nil {
			return err
		}
	}
	if n < 0 {
		if -n > len(d.history) {
			return fmt.Errorf("%w: %d steps were made", ErrCommand, len(d.history))
		}
		d.state = d.history[len(d.history)+n]
		d.history = d.history[:len(d.history)+n]
	}
	for range n {
		if d.state.Done {
			break
		}
		d.one()
	}
	d.show()
	d.showPacket()
	if d.state.Done {
		return d.onward()
	}
	return nil
}

// one runs an instruction.
func (d *Debugger) one() {
	if len(d.history) < maxHistory {
		d.history = append(d.history, d.state)
	}
	d.stopped = false
	d.state.Step(d.prog, d.machine(), d.packet, &d.Aux)
}

// onward goes to the packet after one that is done with.
func (d *Debugger) onward() error {
	switch err := d.nextPacket(); {
	case errors.Is(err, io.EOF):
		d.printf("(going back to first packet)\n")
		return d.rewind()
	case err != nil:
		return err
	}
	d.printf("(next packet)\n")
	return nil
}

func (d *Debugger) run(arg string) error {
	if err := d.ready(); err != nil {
		return err
	}
	limit := 1<<31 - 1
	if arg != "" {
		var err error
		if limit, err = number(arg, 1, limit); err != nil {
			return err
		}
	}
	if len(d.history) > 0 {
		d.stopped = true // where a run begins it does not stop
	}
	passes, fails := 0, 0
	for range limit {
		for steps := 0; !d.state.Done; steps++ {
			if slices.Contains(d.breaks, d.state.PC) && !d.stopped {
				d.stopped = true
				d.printf("(breakpoint)\n")
				d.show()
				d.showPacket()
				return nil
			}
			if steps > maxBackward { // a loop of libpcap's
				break
			}
			d.one()
		}
		if d.state.Result != 0 {
			passes++
		} else {
			fails++
		}
		if err := d.nextPacket(); errors.Is(err, io.EOF) {
			d.printf("bpf passes:%d fails:%d\n", passes, fails)
			return d.rewind()
		} else if err != nil {
			return err
		}
	}
	d.printf("bpf passes:%d fails:%d\n", passes, fails)
	return nil
}

func (d *Debugger) breakpoint(arg string) error {
	if d.prog == nil {
		return fmt.Errorf("%w: load bpf CODE first", ErrNotReady)
	}
	switch arg {
	case "":
		d.printf("breakpoints:")
		for _, pc := range d.breaks {
			d.printf(" %d", pc)
		}
		d.printf("\n")
		return nil
	case "reset":
		d.breaks = nil
		return nil
	}
	pc, err := number(arg, 0, len(d.prog)-1)
	if err != nil {
		return err
	}
	if !slices.Contains(d.breaks, pc) {
		d.breaks = append(d.breaks, pc)
	}
	d.printf("breakpoint at: %s\n", d.text(pc))
	return nil
}

// text is an instruction with its label.
func (d *Debugger) text(pc int) string { return fmt.Sprintf("l%d:\t%s", pc, Text(d.prog, pc)) }

func (d *Debugger) disassemble(arg string) error {
	if d.prog == nil {
		return fmt.Errorf("%w: load bpf CODE first", ErrNotReady)
	}
	if arg != "" {
		pc, err := number(arg, 0, len(d.prog)-1)
		if err != nil {
			return err
		}
		d.printf("%s\n", d.text(pc))
		return nil
	}
	d.printf("%s", AppendProgram(nil, d.prog, Assembly))
	return nil
}

func (d *Debugger) dump(string) error {
	if d.prog == nil {
		return fmt.Errorf("%w: load bpf CODE first", ErrNotReady)
	}
	d.printf("/* { op, jt, jf, k }, */\n%s", AppendProgram(nil, d.prog, AsmC))
	return nil
}

func (d *Debugger) registers(string) error {
	if err := d.ready(); err != nil {
		return err
	}
	d.show()
	return nil
}

// show prints the state as bpf_dbg does: the instruction that comes next, or
// the one that ended the program.
func (d *Debugger) show() {
	s := &d.state
	pc := s.PC
	if s.Done && len(d.history) > 0 {
		pc = d.history[len(d.history)-1].PC
	}
	ins := d.prog[pc]
	d.printf("pc:       [%d]\n", pc)
	d.printf("code:     [%d] jt[%d] jf[%d] k[%d]\n", ins.Code, ins.Jt, ins.Jf, ins.K)
	d.printf("curr:     %s\n", d.text(pc))
	if ins.Row().conditional() {
		d.printf("jt:       %s\n", d.text(pc+1+int(ins.Jt)))
		d.printf("jf:       %s\n", d.text(pc+1+int(ins.Jf)))
	}
	d.printf("A:        [%s][%d]\n", paddedHex(s.A, 8), s.A)
	d.printf("X:        [%s][%d]\n", paddedHex(s.X, 8), s.X)
	if s.Done {
		d.printf("ret:      [%s][%d]!\n", paddedHex(s.Result, 8), s.Result)
	}
	if s.M == [MemWords]uint32{} {
		d.printf("M[0,%d]:  [%s][%d]\n", MemWords-1, paddedHex(0, 8), 0)
	}
	for i, v := range s.M {
		if v != 0 {
			d.printf("M[%d]: [%s][%d]\n", i, paddedHex(v, 8), v)
		}
	}
}

// showPacket prints the packet's number, lengths and bytes.
func (d *Debugger) showPacket() {
	d.printf("packet:   [%d]\n", d.number)
	if len(d.packet) != d.length {
		d.printf("cap: %d, ", len(d.packet))
	}
	d.printf("len: %d\n", d.length)
	for at := 0; at < len(d.packet); at += 16 {
		d.printf("%3d: % x\n", at, d.packet[at:min(at+16, len(d.packet))])
	}
}
