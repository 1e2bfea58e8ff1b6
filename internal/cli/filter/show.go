package filter

import (
	"fmt"
	"strings"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/lang/pcap"
)

// dumps are the formats of -d, -dd and -ddd.
var dumps = [...]classic.Format{classic.Listing, classic.CArray, classic.Decimal}

// show prints the code an expression becomes.
func show(s *ui.Streams, o *Options) error {
	format := dumps[min(max(o.Dump, 1), len(dumps))-1]
	var opts pcap.Options
	if o.Interface != "" {
		opts.Source = pcap.Live
	}
	var b strings.Builder
	var dot error
	last := ""
	if o.Explain {
		opts.Trace = func(st pcap.Stage) {
			text := string(classic.AppendProgram(nil, st.Code(), format))
			if text == last {
				fmt.Fprintf(&b, "; %s: no change\n", st.Name)
				return
			}
			last = text
			fmt.Fprintf(&b, "; %s: %d instructions\n", st.Name, len(st.Code()))
			if o.Dot {
				dot = drawStage(&b, st)
			} else {
				b.WriteString(text)
			}
		}
	} else if o.Dot {
		opts.Trace = func(st pcap.Stage) {
			b.Reset()
			dot = drawStage(&b, st)
		}
	}
	prog, err := o.compile(s, o.link, &opts)
	if err == nil {
		err = dot
	}
	if err != nil {
		return err
	}
	if o.Explain && !o.Dot {
		fmt.Fprintf(&b, "; the program: %d instructions\n", len(prog))
	}
	if !o.Dot {
		b.Write(classic.AppendProgram(nil, prog, format))
	}
	_, err = s.Out.Write([]byte(b.String()))
	return err
}

func drawStage(b *strings.Builder, st pcap.Stage) error {
	code := st.Code()
	return st.Dot(b, func(pc int, _ classic.Instruction) string {
		text, _, _ := strings.Cut(classic.Text(code, pc), ", l") // targets are drawn
		return fmt.Sprintf("(%03d) %s", pc, text)
	})
}
