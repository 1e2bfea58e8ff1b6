package image

import (
	"errors"
	"fmt"
	"strings"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// What can be wrong with an object. Every error of this package is an [*Error]
// around one of these.
var (
	ErrNotELF       = errors.New("not an ELF file")
	ErrNotBPF       = errors.New("not a BPF object")
	ErrTruncated    = errors.New("truncated or corrupt ELF file")
	ErrTooLarge     = rawbtf.ErrTooLarge
	ErrBadBTF       = rawbtf.ErrBad
	ErrBadProgram   = errors.New("bad program")
	ErrBadMap       = errors.New("bad map definition")
	ErrBadReloc     = errors.New("bad relocation")
	ErrNotSupported = errors.New("not supported")
	ErrNoTarget     = errors.New("no kernel BTF to relocate against")
	ErrUnresolved   = errors.New("not found in the target kernel")
	ErrBadConfig    = errors.New("bad configuration value")
	ErrBadConstant  = errors.New("cannot set variable")
)

// Error is a sentinel of this package with the place it was found at.
type Error struct {
	File    string // as given to Load
	Section string // "" where the whole file is meant
	Symbol  string // program, map or variable
	Slot    int    // instruction within Symbol or Section; -1: none
	Err     error  // what is wrong; wraps a sentinel
}

// Error says it in one line: "fw.o: section xdp: fw: insn 12: bad relocation: …".
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	if e.Section != "" {
		b.WriteString("section " + e.Section + ": ")
	}
	if e.Symbol != "" {
		b.WriteString(e.Symbol + ": ")
	}
	if e.Slot >= 0 {
		fmt.Fprintf(&b, "insn %d: ", e.Slot)
	}
	return b.String() + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// at makes an error about a section or a symbol in it; either may be "".
func at(section, symbol string, sentinel error, format string, args ...any) error {
	return atSlot(section, symbol, -1, sentinel, format, args...)
}

// atSlot is at with an instruction.
func atSlot(section, symbol string, slot int, sentinel error, format string, args ...any) error {
	return &Error{Section: section, Symbol: symbol, Slot: slot,
		Err: fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))}
}

// inFile puts the file's name on an error from below.
func inFile(file string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.File = file
		return e
	}
	return &Error{File: file, Slot: -1, Err: err}
}
