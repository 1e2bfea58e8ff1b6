// Package debug tells profilers and debuggers of native code: perf by its map
// file, gdb by the JIT interface.
package debug

// Function is a piece of native code with a name.
type Function struct {
	Name string // bpf_prog_TAG_NAME
	Addr uint64
	Size int
}
