// Package skep is the BPF system of the Linux kernel in user space: load the
// object clang built for Linux, verify it with the kernel's rules, run it on
// packets and look at its maps, without root, cgo or a kernel.
//
//	m, err := skep.NewMachine(nil)
//	coll, err := m.LoadCollectionFile("firewall.o")
//	ret, out, err := coll.Programs["firewall"].Test(packet)
//
// Names and habits are those of github.com/cilium/ebpf, so that a test moves
// from the kernel to skep by changing how its collection is made. What is around
// programs has packages of its own: [github.com/skep-bpf/skep/hook] and
// [github.com/skep-bpf/skep/device] where packets come from,
// [github.com/skep-bpf/skep/ringbuf] and [github.com/skep-bpf/skep/perf] what
// programs tell, [github.com/skep-bpf/skep/verify] what the verifier says of them,
// [github.com/skep-bpf/skep/image] how objects are read,
// [github.com/skep-bpf/skep/skeptest] tests of code that calls bpf(2) itself.
package skep
