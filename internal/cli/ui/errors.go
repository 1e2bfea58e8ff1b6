package ui

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// Exit codes of every command.
const (
	ExitOK     = 0
	ExitFailed = 1 // a program refused, input at fault, a run failed
	ExitUsage  = 2 // the command line is wrong
)

// usageError is a fault of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usage marks an error as one of the command line.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// Usagef makes an error of the command line.
func Usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// exitError ends a command with an exit code of its own.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Exit ends a command that has said all with an exit code; 0 is nil.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return exitError(code)
}

// codeError is an error with an exit code of its own.
type codeError struct {
	error
	code int
}

func (e codeError) Unwrap() error { return e.error }

// WithCode has err, if there is one, end its command with an exit code that is not ExitFailed.
func WithCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return codeError{err, code}
}

// ErrSilent ends a command with ExitFailed when all has been said already.
var ErrSilent = errors.New("failed")

// Report writes err as one line, "skep run: …", and returns the exit code.
func Report(w io.Writer, command string, err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrSilent), errors.Is(err, syscall.EPIPE):
		// Whoever closed the pipe knows already.
		return ExitFailed
	}
	if code := exitError(0); errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintf(w, "%s: %s\n", command, OneLine(err.Error()))
	if c := (codeError{}); errors.As(err, &c) {
		return c.code
	}
	var u usageError
	if errors.As(err, &u) {
		return ExitUsage
	}
	return ExitFailed
}

// OneLine joins a text's lines and shows control characters as escapes: what
// an object file calls its programs must not steer a terminal.
func OneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return Printable(text)
}

// Printable shows control characters of foreign text as escapes.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			fmt.Fprintf(&b, `\x%02x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
