package pcap_test

import (
	"fmt"
	"os"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/lang/pcap"
)

func ExampleCompile() {
	f, err := pcap.Compile("udp port 53 and not host 10.0.0.1", pcap.Ethernet, 262144, nil)
	if err != nil {
		panic(err)
	}
	arp := append([]byte("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\x08\x06"), make([]byte, 28)...)
	fmt.Println(f.Match(arp))
	// Output: false
}

func ExampleCompileProgram() {
	prog, err := pcap.CompileProgram("ip and tcp", pcap.Ethernet, 262144, nil)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(classic.AppendProgram(nil, prog, classic.Listing))
	// Output:
	// (000) ldh      [12]
	// (001) jeq      #0x800           jt 2	jf 5
	// (002) ldb      [23]
	// (003) jeq      #0x6             jt 4	jf 5
	// (004) ret      #262144
	// (005) ret      #0
}

func ExampleError() {
	_, err := pcap.Compile("tcp port 80 or or udp", pcap.Ethernet, 262144, nil)
	fmt.Printf("%+v\n", err)
	// Output:
	// filter expression: syntax error at "or": expected a primitive
	// tcp port 80 or or udp
	//                ^^
}
