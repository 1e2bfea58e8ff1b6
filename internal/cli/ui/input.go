package ui

import (
	"fmt"
	"io"
	"os"
)

// MaxInput is the largest object or text a command reads, in bytes.
const MaxInput = 256 << 20

// ReadFile reads the whole file name, "-" meaning standard input. What is
// longer than MaxInput is refused.
func (s *Streams) ReadFile(name string) ([]byte, error) {
	in := s.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxInput {
		return nil, fmt.Errorf("%s: larger than %s", InputName(name), Bytes(MaxInput))
	}
	return data, nil
}

// NotInput refuses an output that is one of the files that are read: it would take its place. flag is the output's.
func NotInput(flag, out string, inputs []string) error {
	to, err := os.Stat(out)
	if err != nil || !to.Mode().IsRegular() {
		return nil
	}
	for _, name := range inputs {
		if from, err := os.Stat(name); err == nil && os.SameFile(from, to) {
			return Usagef("%s %s: this file is read: write to another", flag, out)
		}
	}
	return nil
}

// InputName is what errors call an input file.
func InputName(name string) string {
	if name == "-" {
		return "stdin"
	}
	return name
}
