// Command skep loads, verifies, runs and inspects BPF programs in user space.
package main

import (
	"os"

	"github.com/skep-bpf/skep/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
