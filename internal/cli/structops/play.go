package structops

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// playOptions are what the command line of play says.
type playOptions struct {
	*objects.Options
	Object, Map string
	Events      []event
	RTT         time.Duration
	MSS         uint32
}

// event is a word of EVENTS: what happens, to how many packets (0: as many as make sense), how often.
type event struct {
	what     string
	packets  uint32
	times    int
	original string // without times
}

// maxEvents is how many events are played.
const maxEvents = 100_000

func newPlayCmd(s *ui.Streams, shared *objects.Options) *cobra.Command {
	o := playOptions{Options: shared}
	cmd := &cobra.Command{
		Use:   "play OBJ MAP EVENTS",
		Short: "Take a TCP congestion control of an object through what happens to a connection",
		Long: `Loads an object file into a machine of its own, opens a TCP connection under the
congestion control that MAP, one of its struct_ops, implements, has happen to it what
EVENTS says, and shows the congestion window, the slow start threshold, the packets in
flight and the state after each event. The sender always has data to send. EVENTS are words:

  ack      all packets in flight are acknowledged; ack:N: so many
  mark     all are, with a mark of congestion (ECN) on each; mark:N: on so many
  lose     a packet is lost; lose:N: so many
  timeout  nothing came back in time
  undo     it turns out that nothing was lost

Any of them may end in *TIMES. Time stands still but for these: while all packets in flight
are acknowledged a round trip goes by, and with a timeout 200 ms more.`,
		Example: `  skep struct_ops play examples/congestion/congestion.o aimd 'ack*3 lose ack*4'
  skep struct_ops play examples/congestion/congestion.o dctcp 'ack*3 mark:20*5' --rtt 5ms`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 {
				return ui.Usagef("OBJ, MAP and EVENTS are wanted: %s", cmd.UseLine())
			}
			o.Object, o.Map = args[0], args[1]
			if o.RTT < 0 || o.RTT > time.Hour {
				return ui.Usagef("--rtt %s: at most an hour is wanted, and no less than 0", o.RTT)
			}
			var err error
			if o.Events, err = parseEvents(strings.Join(args[2:], " ")); err != nil {
				return ui.Usage(err)
			}
			return play(s, &o)
		},
	}
	cmd.Flags().DurationVar(&o.RTT, "rtt", 20*time.Millisecond, "the round trip `time` that acknowledgments tell")
	cmd.Flags().Uint32Var(&o.MSS, "mss", 1460, "`bytes` of data in a packet")
	return cmd
}

func parseEvents(text string) ([]event, error) {
	var list []event
	total := 0
	for _, word := range strings.Fields(text) {
		e := event{times: 1}
		var times, packets string
		var repeated, counted bool
		e.original, times, repeated = strings.Cut(word, "*")
		e.what, packets, counted = strings.Cut(e.original, ":")
		if repeated {
			n, err := strconv.ParseUint(times, 10, 31)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("%q: behind * a number is wanted", word)
			}
			e.times = int(n)
		}
		if !slices.Contains([]string{"ack", "mark", "lose", "timeout", "undo"}, e.what) {
			return nil, fmt.Errorf("%q: there are ack, mark, lose, timeout and undo", word)
		}
		if counted {
			n, err := strconv.ParseUint(packets, 10, 32)
			if err != nil || n == 0 || e.what == "timeout" || e.what == "undo" {
				return nil, fmt.Errorf("%q: ack, mark and lose take a number of packets behind a colon", word)
			}
			e.packets = uint32(n)
		}
		if total += e.times; total > maxEvents {
			return nil, fmt.Errorf("more than %d events", maxEvents)
		}
		list = append(list, e)
	}
	return list, nil
}

// minTimeout is what a timeout takes beyond a round trip at least (TCP_RTO_MIN).
const minTimeout = 200 * time.Millisecond

// happen has the event happen once.
func (e *event) happen(c *hook.Congestion, clock *skep.ManualClock, rtt time.Duration) error {
	flight := c.InFlight()
	n := e.packets
	switch e.what {
	case "ack":
		if n == 0 {
			n = flight
		}
		if n <= flight {
			clock.Advance(rtt / time.Duration(max(flight, 1)) * time.Duration(n))
		}
		return c.Ack(hook.Ack{Packets: n, RTT: rtt})
	case "mark":
		if n == 0 {
			n = flight
		}
		clock.Advance(rtt)
		return c.Ack(hook.Ack{Packets: flight, Marked: min(n, flight), RTT: rtt})
	case "lose":
		return c.Lose(max(n, 1))
	case "timeout":
		clock.Advance(rtt + minTimeout)
		return c.Timeout()
	}
	return c.Undo()
}

func play(s *ui.Streams, o *playOptions) error {
	clock := skep.NewManualClock(uint64(time.Hour), time.Unix(0, 0))
	m, err := skep.NewMachine(&skep.MachineOptions{Clock: clock})
	if err != nil {
		return err
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile(o.Object)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return fmt.Errorf("%s: %w", o.Object, err)
	}
	defer coll.Close()
	mp := coll.Maps[o.Map]
	if mp == nil || mp.Type() != skep.StructOpsMap {
		return fmt.Errorf("%s: no struct_ops map %s: %s", o.Object, o.Map, there(coll))
	}
	ops, err := mp.Ops()
	if err != nil {
		return err
	}
	link, err := ops.Attach()
	if err != nil {
		return fmt.Errorf("%s: %w", o.Object, err)
	}
	defer link.Close()
	c, err := hook.NewCongestion(m, ops, o.MSS)
	if err != nil {
		return err
	}
	defer c.Close()
	table := s.NewTable("event", ">cwnd", ">ssthresh", ">in flight", "state")
	var j *objects.JSON
	out := bufio.NewWriter(s.Out)
	if o.JSON || o.Pretty {
		j = objects.NewJSON(out, o.Pretty)
		j.Array()
	}
	show := func(event string) {
		if j == nil {
			table.Row(event, strconv.Itoa(int(c.Cwnd())), ssthresh(c), strconv.Itoa(int(c.InFlight())), c.State().String())
			return
		}
		j.Object()
		j.Field("event", event)
		j.Field("cwnd", c.Cwnd())
		j.Field("ssthresh", c.Ssthresh())
		j.Field("in_flight", c.InFlight())
		j.Field("state", c.State().String())
		j.EndObject()
	}
	show("init")
	for _, e := range o.Events {
		for range e.times {
			if err := e.happen(c, clock, o.RTT); err != nil {
				return fmt.Errorf("%s: %w", e.original, err)
			}
			show(e.original)
		}
	}
	if j != nil {
		j.EndArray()
		j.Line()
		return out.Flush()
	}
	return table.Print(s.Out)
}

// ssthresh is the threshold, "-" before there was a loss.
func ssthresh(c *hook.Congestion) string {
	if v := c.Ssthresh(); v < 0x7fffffff {
		return strconv.Itoa(int(v))
	}
	return "-"
}

// there says which struct_ops maps there are.
func there(coll *skep.Collection) string {
	var names []string
	for name, mp := range coll.Maps {
		if mp.Type() == skep.StructOpsMap {
			names = append(names, name)
		}
	}
	if names == nil {
		return "there is none"
	}
	slices.Sort(names)
	return "there are " + strings.Join(names, ", ")
}
