// Package bench holds the programs that are measured: the same C compiled to
// BPF objects and to WebAssembly, both committed, and as source for the C compiler at hand.
package bench

import "embed"

//go:generate make -C workloads

// BPF objects and the WebAssembly module.
var (
	//go:embed workloads/workloads.o
	Object []byte
	//go:embed workloads/balancer.o
	Balancer []byte
	//go:embed workloads/long.o
	Long []byte
	//go:embed workloads/workloads.wasm
	Wasm []byte
)

// Native has workloads/native.c and what it includes.
//
//go:embed workloads/native.c workloads/core.h
var Native embed.FS
