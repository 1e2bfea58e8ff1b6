package verifier_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

// A state case says what the verifier knows before some code and after it:
//
//	pre: r1 = u64 [1, 9] bits 0xff00
//	post: R1=scalar(…)              in the words of a log at level 2
//
//	r1 += 3
//
// It is made a real program: code that brings the registers into the state of
// the pre lines, the body, branches at its end, where a log at level 2 shows
// whole states, and behind those a read of every register, since what nobody
// reads is known less of. The words that stand for a register's state before:
//
//	any            a number nobody knows
//	any32          the same of 32 bits
//	5              this number
//	u64 [1, 9]     a number in a range; also s64, u32 and s32, of the lower half
//	bits 0xf0      a number with no other bits set
//	ones 0x3       a number with these bits set
//	not 0          any number but this
//	r2             what r2 is, a copy
//	ctx            the context
//	stack -16      a place on the stack
//	value          the 64 bytes of a map's element
//	value?         the same, or NULL
//	packet 14      the packet, 14 bytes of which are there; data only in sched_cls
//
// Several may follow each other where they are about a number. R9 and R10 are
// the harness's. There is a post line for each state that comes to the end of the
// body, a taken line for each that goes to label taken, in the order of the log.
// With kernel: and why: lines the kernel's states are others.
type pre struct {
	reg   int
	words string
}

var preLine = regexp.MustCompile(`^r([0-8]) = (.+)$`)

func parsePre(t testing.TB, val string) pre {
	m := preLine.FindStringSubmatch(val)
	if m == nil {
		t.Fatalf("bad pre %q", val)
	}
	reg, _ := strconv.Atoi(m[1])
	return pre{reg, m[2]}
}

// bounds are the words that narrow a number, as the jumps that leave where it does not fit.
var bounds = regexp.MustCompile(`^(u64|s64|u32|s32) \[(\S+), (\S+)\]|^(bits|ones|not) (\S+)|^any32|^any`)

// lower returns the code that makes p's register so.
func (p *pre) lower(t testing.TB) (code []string) {
	emit := func(format string, args ...any) { code = append(code, fmt.Sprintf(format, args...)) }
	r := p.reg
	if _, err := strconv.ParseInt(p.words, 0, 64); err == nil {
		emit("r%d = %s ll", r, p.words)
		return code
	}
	kind, arg, _ := strings.Cut(p.words, " ")
	switch {
	case kind == "ctx":
		emit("r%d = *(u64 *)(r10 - 8)", r)
		return code
	case kind == "stack":
		emit("r%d = r10", r)
		emit("r%d += %s", r, arg)
		return code
	case kind == "value":
		emit("r%d = map_idx_value[m][0] ll", r)
		return code
	case kind == "packet":
		emit("r0 = *(u64 *)(r10 - 8)")
		emit("r%d = *(u32 *)(r0 + 76)", r)
		emit("r9 = *(u32 *)(r0 + 80)")
		emit("r0 = r%d", r)
		emit("r0 += %s", arg)
		emit("if r0 > r9 goto out")
		return code
	case strings.HasPrefix(kind, "r"):
		emit("r%d = %s", r, kind)
		return code
	}
	emit("r9 = map_idx_value[m][0] ll")
	for rest := p.words; rest != ""; {
		m := bounds.FindStringSubmatch(rest)
		if m == nil {
			t.Fatalf("r%d: what is %q?", r, rest)
		}
		if rest == p.words {
			size := "u64"
			if m[0] == "any32" {
				size = "u32"
			}
			emit("r%d = *(%s *)(r9 + 0)", r, size)
		}
		signed, w := "", "r"
		if strings.HasPrefix(m[1], "s") {
			signed = "s"
		}
		if strings.HasSuffix(m[1], "32") {
			w = "w"
		}
		for i, op := range []string{"<", ">"} {
			if bound := m[2+i]; bound != "" {
				p.compare(emit, w, signed+op, bound)
			}
		}
		switch m[4] {
		case "bits":
			emit("r0 = %s ll", m[5])
			emit("r%d &= r0", r)
		case "ones":
			emit("r0 = %s ll", m[5])
			emit("r%d |= r0", r)
		case "not":
			p.compare(emit, "r", "==", m[5])
		}
		rest = strings.TrimSpace(rest[len(m[0]):])
	}
	return code
}

// compare leaves where the register and bound compare so.
func (p *pre) compare(emit func(string, ...any), w, op, bound string) {
	n, err := strconv.ParseInt(bound, 0, 64)
	if err == nil && n == int64(int32(n)) {
		emit("if %s%d %s %d goto out", w, p.reg, op, n)
		return
	}
	emit("r0 = %s ll", bound)
	emit("if %s%d %s %s0 goto out", w, p.reg, op, w)
}

// stateProgram is the text of the program for a body.
func stateProgram(t testing.TB, pres []pre, body string) string {
	var b strings.Builder
	b.WriteString("*(u64 *)(r10 - 8) = r1\n")
	for i := range pres {
		for _, line := range pres[i].lower(t) {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("r9 = map_idx_value[m][0] ll\nr9 = *(u64 *)(r9 + 0)\nr0 = 0\n")
	b.WriteString(strings.TrimRight(body, "\n") + "\n")
	before, after, taken := strings.Cut(body, "goto taken")
	end := func(label string, read map[string]bool) {
		fmt.Fprintf(&b, "if r9 == 0 goto %s\nr0 = 0\nexit\n%s:\n", label, label)
		for _, r := range slices.Sorted(maps.Keys(read)) {
			fmt.Fprintf(&b, "r0 = r%s\n", r)
		}
		b.WriteString("r0 = 0\nexit\n")
	}
	read := map[string]bool{}
	for i := range pres {
		read[strconv.Itoa(pres[i].reg)] = true
	}
	note := func(code string) map[string]bool {
		for _, m := range register.FindAllStringSubmatch(code, -1) {
			read[m[1]] = true
		}
		return maps.Clone(read)
	}
	there := note(before)
	end("post", note(after))
	if strings.Contains(b.String(), "goto out") {
		b.WriteString("out:\nr0 = 0\nexit\n")
	}
	if taken {
		b.WriteString("taken:\n")
		end("posttaken", there)
	}
	return b.String()
}

var (
	register = regexp.MustCompile(`\b[rw]([1-8])\b`)
	fromLine = regexp.MustCompile(`(?m)^from \d+ to (\d+): (.*)$`)
	// What the harness leaves in every state.
	harness = regexp.MustCompile(`R(9=scalar\((id=\d+)?\)|9=0|10=fp0)( |$)|fp-8=ctx\(\)( |$)|^R0=0 `)
)

// postLines are the lines of the case for the states that a log shows.
func (c *testCase) postLines(t testing.TB, log string) (lines []string) {
	slots := labelSlots(t, c)
	for _, m := range fromLine.FindAllStringSubmatch(log, -1) {
		to, _ := strconv.Atoi(m[1])
		state := strings.TrimSpace(harness.ReplaceAllString(m[2], ""))
		switch at, taken := slots["post"], slots["posttaken"]; to {
		case at:
			lines = append(lines, "post: "+state)
		case taken:
			lines = append(lines, "taken: "+state)
		}
	}
	return lines
}

// asState turns a case with pre lines into one with a program.
func (c *testCase) asState(t testing.TB) {
	c.text = stateProgram(t, c.pres, c.text)
	c.names = append(c.names, "m")
	c.maps = append(c.maps, &catalog.MapDef{Name: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: 64, MaxEntries: 1})
	c.labels = append(c.labels, "post")
	if strings.Contains(c.text, "posttaken:") {
		c.labels = append(c.labels, "posttaken")
	}
}

// checkPosts compares the states a log shows with those the case names.
func (c *testCase) checkPosts(t *testing.T, who, log string) {
	t.Helper()
	if got := c.postLines(t, log); !slices.Equal(got, c.posts) {
		t.Errorf("%s: states\n\t%s\nwant\n\t%s", who, strings.Join(got, "\n\t"), strings.Join(c.posts, "\n\t"))
	}
}
