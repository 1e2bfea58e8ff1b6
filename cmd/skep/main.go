// Command skep loads, verifies, runs and inspects BPF programs in user space.
package main

import (
	"os"

	"github.com/skep-bpf/skep/internal/cli"
	"github.com/skep-bpf/skep/internal/serve"
)

func main() {
	if serve.IsShim() { // skep exec started us to become COMMAND
		os.Exit(serve.Shim())
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
