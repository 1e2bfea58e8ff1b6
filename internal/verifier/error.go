package verifier

import (
	"fmt"
	"io"
	"strings"

	"github.com/skep-bpf/skep/internal/errno"
)

// Error says why a program was refused. It unwraps to its Errno.
type Error struct {
	Errno errno.Errno // what bpf(2) would return
	Slot  int         // the instruction, or -1 where none is to blame
	Msg   string      // the reason, one line, in the kernel's words
	// Reason is Msg before its values were filled in, or what is wrong in our
	// own words where the kernel has none. Package explain knows refusals by it.
	Reason string
	// Lines are all lines the kernel says about the refusal, Msg first.
	Lines []string
	// State is the abstract state of the current function at the refusal, as
	// the log prints it; Path the slots of the branches that led there, oldest first.
	State string
	Path  []int
	Line  *LineInfo // source, nil without BTF
	Log   string    // as far as LogLevel asked for one
	// LogMost is described at [Result].
	LogMost int

	Stats  Stats    // as far as it came
	Visits []uint32 // as in Result
	Trace  *Trace   // as in Result
}

// Error returns one line: slot, source position and reason.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Slot >= 0 {
		fmt.Fprintf(&b, "insn %d: ", e.Slot)
	}
	if e.Line != nil {
		fmt.Fprintf(&b, "%s:%d: ", e.Line.File, e.Line.LineNo)
	}
	b.WriteString(e.Msg)
	if e.Msg == "" {
		b.WriteString(e.Errno.Error())
	}
	return b.String()
}

// Unwrap returns the error number.
func (e *Error) Unwrap() error { return e.Errno }

// Format prints the whole log after the reason for %+v.
func (e *Error) Format(s fmt.State, verb rune) {
	io.WriteString(s, e.Error())
	if verb == 'v' && s.Flag('+') {
		for _, l := range e.Lines[min(1, len(e.Lines)):] {
			io.WriteString(s, "\n\t"+l)
		}
		if e.Log != "" {
			io.WriteString(s, "\n"+e.Log)
		}
	}
}

// refuse makes the error that ends the verification, with its reason in the log too.
func (e *env) refuse(no errno.Errno, format string, args ...any) *Error {
	msg := fmt.Sprintf(format, args...)
	e.logf("%s\n", msg)
	err := &Error{Errno: no, Slot: e.insn, Msg: msg, Reason: format}
	err.Lines = strings.Split(msg, "\n")
	err.Msg = err.Lines[0]
	return err
}

// also adds a line to a refusal.
func (e *env) also(err *Error, format string, args ...any) *Error {
	line := fmt.Sprintf(format, args...)
	e.logf("%s\n", line)
	err.Lines = append(err.Lines, line)
	return err
}

// silent is a refusal the kernel gives no words for; why is for those who ask.
func (e *env) silent(no errno.Errno, why string) *Error {
	return &Error{Errno: no, Slot: e.insn, Reason: why}
}

// Unsupported begins the message where this verifier has no model of what a program does.
const Unsupported = "not supported by this verifier: "

// unsupported refuses what this verifier has no model of.
func (e *env) unsupported(what string, args ...any) *Error {
	return e.refuse(errno.ENOTSUPP, Unsupported+what, args...)
}
