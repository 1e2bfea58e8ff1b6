// Package iproute is what skep ip and skep tc share: the manner of iproute2's
// command lines, its JSON, and how the served machine is asked.
package iproute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"encoding/json"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// Options are those of ip and tc before the object, "-s -j" and so on.
type Options struct {
	Machine string
	Stats   int
	Details bool
	JSON    bool
	Pretty  bool
	OneLine bool
	Brief   bool
	Force   bool
	Help    bool
}

// Parse takes the options off the front of the arguments.
func Parse(args []string) (Options, *Args, error) {
	o := Options{Machine: serve.MachineFromEnv()}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		opt := args[0]
		args = args[1:]
		switch name := strings.TrimLeft(opt, "-"); {
		case opt == "--machine":
			if len(args) == 0 {
				return o, nil, ui.Usagef("--machine: the path of a skep serve's socket is missing")
			}
			o.Machine, args = args[0], args[1:]
		case strings.HasPrefix(opt, "--machine="):
			o.Machine = strings.TrimPrefix(opt, "--machine=")
		case name == "s" || name == "stats" || name == "statistics":
			o.Stats++
		case name == "d" || name == "details":
			o.Details = true
		case name == "j" || name == "json":
			o.JSON = true
		case name == "p" || name == "pretty":
			o.Pretty = true
		case name == "o" || name == "oneline":
			o.OneLine = true
		case name == "br" || name == "brief":
			o.Brief = true
		case name == "force":
			o.Force = true
		case name == "h" || name == "help":
			o.Help = true
		default:
			return o, nil, ui.Usagef("option %q is unknown: there are -s, -d, -j, -p, -o, -br, -force and --machine", opt)
		}
	}
	for _, word := range args { // wherever it stands, as in other commands
		if word == "--help" || word == "-help" || word == "-h" {
			o.Help = true
		}
	}
	return o, &Args{rest: args}, nil
}

// Args are the words of a command line, taken one by one.
type Args struct{ rest []string }

// More reports whether there are any.
func (a *Args) More() bool { return len(a.rest) > 0 }

// Peek is the next word, "" for none.
func (a *Args) Peek() string {
	if len(a.rest) == 0 {
		return ""
	}
	return a.rest[0]
}

// Next takes the next word, "" for none.
func (a *Args) Next() string {
	w := a.Peek()
	if len(a.rest) > 0 {
		a.rest = a.rest[1:]
	}
	return w
}

// Accept takes the next word if it is one of those.
func (a *Args) Accept(words ...string) bool {
	for _, w := range words {
		if a.Peek() == w && w != "" {
			a.Next()
			return true
		}
	}
	return false
}

// Value takes the word after a keyword.
func (a *Args) Value(keyword string) (string, error) {
	if a.Peek() == "" {
		return "", ui.Usagef("%s: its value is missing", keyword)
	}
	return a.Next(), nil
}

// Number takes a number after a keyword, in C's notations, that is at most limit.
func (a *Args) Number(keyword string, limit uint64) (uint64, error) {
	text, err := a.Value(keyword)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil || n > limit {
		return 0, ui.Usagef("argument %q is wrong: %s is a number up to %d", text, keyword, limit)
	}
	return n, nil
}

// Verb returns the one of the verbs that a word stands for, its beginning
// sufficing as in iproute2: the first that fits. "" is none.
func Verb(word string, verbs ...string) string {
	for _, v := range verbs {
		if word != "" && strings.HasPrefix(v, word) {
			return v
		}
	}
	return ""
}

// Ask sends a request to the machine and calls each with the values of the reply.
func Ask[T any](o *Options, verb string, args any, files []*os.File, each func(T) error) error {
	if o.Machine == "" {
		return ui.Usagef("no machine to ask: begin one with skep serve, or name one by --machine PATH or %s", serve.MachineEnv)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := serve.Ask(ctx, o.Machine, verb, args, files, func(raw json.RawMessage) error {
		v, err := rtnl.Decode[T](raw)
		if err != nil {
			return err
		}
		return each(v)
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Object reads what says where a program comes from, after obj, object-file,
// pinned and so on: the word that stands first has been looked at, not taken. ok
// is false if it is none. The file of an object is opened and appended to files.
//
//	{ obj | object | object-file } FILE [ { sec | section | prog | program } NAME ] [ verb | verbose ]
//	{ pinned | object-pinned } PATH
func Object(a *Args, o *rtnl.Object, files *[]*os.File) (ok bool, err error) {
	switch word := a.Peek(); word {
	case "obj", "object", "object-file":
		a.Next()
		name, err := a.Value(word)
		if err != nil {
			return true, err
		}
		f, err := os.Open(name)
		if err != nil {
			return true, err
		}
		*files = append(*files, f)
		if o.File, err = filepath.Abs(name); err != nil {
			return true, err
		}
		for {
			switch word := a.Peek(); word {
			case "sec", "section":
				a.Next()
				if o.Section, err = a.Value(word); err != nil {
					return true, err
				}
			case "prog", "program":
				a.Next()
				if o.Program, err = a.Value(word); err != nil {
					return true, err
				}
			case "verb", "verbose":
				a.Next()
				o.Verbose = true
			default:
				return true, nil
			}
		}
	case "pinned", "object-pinned":
		a.Next()
		o.Pinned, err = a.Value(word)
		return true, err
	}
	return false, nil
}

// Close closes files that were sent.
func Close(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Log writes what the verifier said.
func Log(s *ui.Streams) func(rtnl.LoadLog) error {
	return func(l rtnl.LoadLog) error {
		_, err := fmt.Fprint(s.Err, l.Text)
		return err
	}
}

// ProgText is a program as listings end with it, "id 3 name x tag … jited ".
func ProgText(p *rtnl.Prog, details bool) string {
	text := fmt.Sprintf("id %d ", p.ID)
	if p.Name != "" {
		text += "name " + p.Name + " "
	}
	text += "tag " + p.Tag + " "
	if p.JITed {
		text += "jited "
	}
	if details {
		text += fmt.Sprintf("load_time %d created_by_uid %d ", p.LoadTime, p.UID)
		if p.BTF != 0 {
			text += fmt.Sprintf("btf_id %d ", p.BTF)
		}
	}
	return text
}

// ProgJSON writes the same as the object "prog".
func ProgJSON(w *JSON, p *rtnl.Prog, details bool) {
	w.Name("prog").Object()
	w.Name("id").Uint(uint64(p.ID))
	if p.Name != "" {
		w.Name("name").String(p.Name)
	}
	w.Name("tag").String(p.Tag)
	jited := uint64(0)
	if p.JITed {
		jited = 1
	}
	w.Name("jited").Uint(jited)
	if details {
		w.Name("load_time").Uint(p.LoadTime)
		w.Name("created_by_uid").Uint(uint64(p.UID))
		if p.BTF != 0 {
			w.Name("btf_id").Uint(uint64(p.BTF))
		}
	}
	w.End()
}
