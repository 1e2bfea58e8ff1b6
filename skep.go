// Package skep is the BPF system of the Linux kernel in user space: load the
// object clang built for Linux, verify it with the kernel's rules, run it on
// packets and look at its maps, without root, cgo or a kernel.
//
//	m, err := skep.NewMachine(nil)
//	coll, err := m.LoadCollectionFile("firewall.o")
//	ret, out, err := coll.Programs["firewall"].Test(packet)
//
// Names and habits are those of github.com/cilium/ebpf, so that a test moves
// from the kernel to skep by changing how its collection is made.
package skep
