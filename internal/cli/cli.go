// Package cli is the skep command: one package per noun below it, joined here.
package cli

import "io"

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int { return 0 }
