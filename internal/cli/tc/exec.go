package tc

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/skep-bpf/skep/internal/cli/iproute"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// execute carries out tc exec bpf.
func execute(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	if word := a.Next(); word != "bpf" {
		return ui.Usagef("exec what: bpf? See skep tc help")
	}
	switch word := a.Next(); word {
	case "dbg", "debug":
		return dbg(s, o)
	case "graft":
		return graft(s, o, a)
	case "help":
		return help(s)
	default:
		return ui.Usagef("exec bpf: what is %q? There are graft and dbg; see skep tc help", word)
	}
}

// dbg prints the trace pipe.
func dbg(s *ui.Streams, o *iproute.Options) error {
	return iproute.Ask(o, serve.TraceVerb, serve.TraceRequest{}, nil, func(r serve.TraceReply) error {
		if r.Lost > 0 {
			fmt.Fprintf(s.Out, "CPU:0 [LOST %d EVENTS]\n", r.Lost)
		}
		for _, l := range r.Lines {
			var err error
			if o.JSON {
				err = json.NewEncoder(s.Out).Encode(l)
			} else {
				_, err = fmt.Fprintln(s.Out, l.Format(r.PID))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// graft reads "MAP [key N] [type T] { obj FILE [sec NAME] | object-pinned PATH }".
func graft(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	var q rtnl.Graft
	var files []*os.File
	defer func() { iproute.Close(files) }()
	var err error
	if q.Map, err = a.Value("graft"); err != nil {
		return err
	}
	program := false
	for a.More() {
		ok, err := iproute.Object(a, &q.Object, &files)
		if err != nil {
			return err
		}
		if ok {
			program = true
			continue
		}
		switch w := a.Next(); w {
		case "key":
			n, err := a.Number(w, 0xffffffff)
			if err != nil {
				return err
			}
			key := uint32(n)
			q.Key = &key
		case "type":
			if q.Type, err = a.Value(w); err != nil {
				return err
			}
		default:
			return ui.Usagef("graft: what is %q? See skep tc help", w)
		}
	}
	if !program {
		return ui.Usagef("graft: which program? Say obj FILE sec NAME or object-pinned PATH")
	}
	return iproute.Ask(o, rtnl.VerbGraft, q, files, iproute.Log(s))
}
