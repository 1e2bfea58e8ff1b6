package verify

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/engine"
)

// refusal is why a program was refused, and where.
type refusal struct {
	Reason string `json:"reason"`
	Insn   int    `json:"insn"`             // slot; -1: no instruction in particular
	Text   string `json:"text,omitempty"`   // of the instruction
	Where  string `json:"where,omitempty"`  // file:line
	Source string `json:"source,omitempty"` // the line
}

// stats are the figures of the log's last line, -1 where it has none.
type stats struct {
	Processed int `json:"processed"`
	Total     int `json:"total_states"`
	Peak      int `json:"peak_states"`
}

// Lines of the verifier's log:
//
//	1: (69) r1 = *(u16 *)(r1 +12)      ; R1=scalar(…)
//	processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
var (
	insnLine  = regexp.MustCompile(`^(\d+): \([0-9a-f]{2}\) (.*?)(\s+;.*)?$`)
	statsLine = regexp.MustCompile(`^processed (\d+) insns .* total_states (\d+) peak_states (\d+)`)
	timeLine  = regexp.MustCompile(`^(verification time \d+ usec|stack depth [\d+]+)$`)
)

func statsOf(log string) stats {
	s := stats{-1, -1, -1}
	lines := strings.Split(log, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if m := statsLine.FindStringSubmatch(lines[i]); m != nil {
			s.Processed, _ = strconv.Atoi(m[1])
			s.Total, _ = strconv.Atoi(m[2])
			s.Peak, _ = strconv.Atoi(m[3])
			break
		}
	}
	return s
}

// refusalOf reads the log of a refused program: the reason is the first line
// behind the last instruction it shows.
func refusalOf(v *engine.Verdict, p *image.Program) *refusal {
	r := &refusal{Insn: -1}
	reason := ""
	for _, line := range strings.Split(v.Log, "\n") {
		if m := insnLine.FindStringSubmatch(line); m != nil {
			r.Insn, _ = strconv.Atoi(m[1])
			r.Text, reason = m[2], ""
			continue
		}
		if reason == "" && isReason(line) {
			reason = line
		}
	}
	r.Reason = reason
	if reason == "" {
		r.Reason = v.Refused.Error()
	}
	if l := lineOf(p, r.Insn); l != nil {
		r.Where = fmt.Sprintf("%s:%d", l.File[strings.LastIndexByte(l.File, '/')+1:], l.LineNo)
		r.Source = strings.TrimSpace(l.Line)
	}
	return r
}

// isReason tells a reason from the other lines that may follow an instruction:
// source, branches, register states, statistics.
func isReason(line string) bool {
	if line == "" || strings.HasPrefix(line, ";") || strings.HasPrefix(line, "from ") || strings.HasPrefix(line, "mark_precise") {
		return false
	}
	return !stateLine.MatchString(line) && !statsLine.MatchString(line) && !timeLine.MatchString(line)
}

// stateLine is a state before an instruction: "3: R0=… R10=fp0", or a function's
// head: "func#0 @0".
var stateLine = regexp.MustCompile(`^(\d+: (safe|R\d|frame)|func#\d|Live regs|\s+\d+: )`)

// lineOf finds the source line of an instruction.
func lineOf(p *image.Program, slot int) *image.LineInfo {
	var found *image.LineInfo
	for i := range p.Lines {
		if p.Lines[i].Slot > slot {
			break
		}
		found = &p.Lines[i]
	}
	if slot < 0 {
		return nil
	}
	return found
}
