package filter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// devices is the packets of a served machine's device, or of all of them, as they come over a pipe.
type devices struct {
	moment
	any     bool
	pipe    *os.File
	records *rtnl.RecordReader
	dropped uint64
}

// machine reads packets from a device of a served machine until the context or the limit ends it.
func (j *job) machine(ctx context.Context) error {
	src := &devices{moment: moment{link: linkEthernet}, any: j.o.Interface == "any"}
	ask := rtnl.Capture{Dev: j.o.Interface}
	if src.any {
		src.link, ask.Dev = linkSLL2, ""
	}
	prog, err := j.liveProgram(src.link)
	if err != nil {
		return err
	}
	vm, err := classic.NewVM(prog, classic.Libpcap)
	if err != nil {
		return err
	}
	if !src.any && classic.Check(prog, classic.Socket) == nil {
		ask.Filter, vm = prog, nil // it runs there
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer from.Close()
	src.pipe, src.records = from, rtnl.NewRecordReader(from)
	asking, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	asked, listening := make(chan error, 1), false
	go func() {
		// The machine has a descriptor of its own; when that is closed, the packets end.
		err := serve.Ask(asking, j.o.Machine, rtnl.VerbCapture, ask, []*os.File{to}, func(raw json.RawMessage) error {
			l, err := rtnl.Decode[rtnl.Listening](raw)
			if err != nil {
				return err
			}
			line := fmt.Sprintf("listening on %s of %s", j.o.Interface, j.o.Machine)
			if l.Down {
				line += fmt.Sprintf(", which is down: skep ip link set dev %s up", j.o.Interface)
			}
			fmt.Fprintln(j.s.Err, line)
			listening = true
			return to.Close()
		})
		to.Close()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		asked <- err
	}()
	err = j.watch(ctx, src, src.link, vm)
	if !errors.Is(err, io.EOF) { // else the machine has ended it, and says why
		hangUp()
		src.drain()
	}
	j.dropped = &src.dropped
	if refused := <-asked; refused != nil {
		refused = fmt.Errorf("%s: %w", j.o.Interface, refused)
		if listening {
			return &inputError{refused} // what came before is kept
		}
		return refused
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// arphrdEther is the hardware type of a machine's devices (ARPHRD_ETHER).
const arphrdEther = 1

// read reads a packet; ok is false where none came for a while. Behind the last it returns io.EOF.
func (d *devices) read(r *record) (ok bool, err error) {
	if err := d.pipe.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return false, err
	}
	p, err := d.take()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	d.sec, d.nsec = p.Time.Unix(), int64(p.Time.Nanosecond())
	data, wire := p.Data, int(p.Length)
	switch {
	case d.any:
		data = p.Room(sll2Header)
		a := sender{protocol: p.Protocol, ifindex: p.Ifindex, hatype: arphrdEther, pkttype: p.Type, addrLen: uint8(len(p.Addr))}
		copy(a.addr[:], p.Addr[:])
		cook(data, &a)
		wire += sll2Header
	case p.VLANTPID != 0 && len(data) >= addressesLen:
		data = p.Room(vlanTag)
		retag(data, p.VLANTPID, p.VLANTCI)
		wire += vlanTag
	}
	*r = record{data: data, wire: max(wire, len(data)), link: d.link}
	return true, nil
}

// take takes a record that is a packet.
func (d *devices) take() (rtnl.Record, error) {
	p, err := d.records.Next()
	if err != nil {
		return p, err
	}
	d.dropped = p.Dropped
	if p.End {
		return p, io.EOF
	}
	return p, nil
}

// patience is how long a machine may take for its last words.
const patience = 3 * time.Second

// drain passes over what was seen before the end, to learn how much was dropped.
func (d *devices) drain() {
	err := d.pipe.SetReadDeadline(time.Now().Add(patience))
	for err == nil {
		_, err = d.take()
	}
}
