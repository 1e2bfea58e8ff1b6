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

// InputName is what errors call an input file.
func InputName(name string) string {
	if name == "-" {
		return "stdin"
	}
	return name
}
