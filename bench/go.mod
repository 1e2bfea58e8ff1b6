module github.com/skep-bpf/skep/bench

go 1.26.0

require (
	github.com/cilium/ebpf v0.22.0
	github.com/skep-bpf/skep v0.0.0
	github.com/tetratelabs/wazero v1.12.0
	golang.org/x/net v0.55.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/gopacket/gopacket v1.7.7 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
)

replace github.com/skep-bpf/skep => ../
