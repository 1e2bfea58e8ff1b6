package classic_test

import (
	"fmt"
	"log"

	"github.com/skep-bpf/skep/classic"
)

// A socket filter keeps 96 bytes of every IPv4 packet.
func ExampleVM() {
	prog, err := classic.Assemble("ip.bpf", `
		ldh [12]
		jne #ETHERTYPE_IP, drop
		ret #96
	drop:	ret #0`, nil)
	if err != nil {
		log.Fatal(err) // ip.bpf:2:7: …
	}
	vm, err := classic.NewVM(prog, classic.Socket)
	if err != nil {
		log.Fatal(err) // what the kernel would refuse
	}
	packet := make([]byte, 60)
	fmt.Println(vm.Run(packet, &classic.Aux{}))
	packet[12], packet[13] = 0x08, 0x00
	fmt.Println(vm.Run(packet, &classic.Aux{}))
	// Output:
	// 0
	// 96
}

// A filter of system calls is asked what becomes of two of them.
func ExampleRunSeccomp() {
	prog, err := classic.Assemble("quiet.bpf", `
		ld [0]                  ; the call's number
		jeq #1, write
		ret #SECCOMP_RET_ALLOW
	write:	ret #0x50001            ; SECCOMP_RET_ERRNO, EPERM`, nil)
	if err != nil {
		log.Fatal(err)
	}
	vm, err := classic.NewVM(prog, classic.Seccomp)
	if err != nil {
		log.Fatal(err)
	}
	for nr := range int32(2) {
		fmt.Println(nr, classic.RunSeccomp([]*classic.VM{vm}, &classic.SeccompData{NR: nr}))
	}
	// Output:
	// 0 ALLOW
	// 1 ERRNO(1)
}
