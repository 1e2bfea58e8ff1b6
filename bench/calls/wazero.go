package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/skep-bpf/skep/bench"
	"github.com/skep-bpf/skep/bench/measure"
)

// wazeroEngine is the workloads' WebAssembly module in wazero's compiler, called from Go.
type wazeroEngine struct {
	module api.Module
	packet uint64 // where the module wants the packet
}

func newWazero() (*wazeroEngine, error) {
	ctx := context.Background()
	module, err := wazero.NewRuntime(ctx).InstantiateWithConfig(ctx, bench.Wasm,
		wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		return nil, err
	}
	at, err := module.ExportedFunction("packet").Call(ctx)
	if err != nil {
		return nil, err
	}
	if !module.Memory().Write(uint32(at[0]), tcpPacket) {
		return nil, fmt.Errorf("the packet does not fit the module's memory")
	}
	return &wazeroEngine{module: module, packet: at[0]}, nil
}

func (e *wazeroEngine) open(w *workload) (contender, error) {
	// Inside one call there is the loop of native.c alone, so that is not repeated here.
	if w.core == "" || w.turns != 0 {
		return contender{}, nil
	}
	ctx := context.Background()
	f := e.module.ExportedFunction(w.core)
	stack := make([]uint64, 2)
	call := func() error {
		stack[0], stack[1] = e.packet, uint64(len(w.packet))
		return f.CallWithStack(ctx, stack)
	}
	return contender{
		first: func() (uint32, error) { err := call(); return uint32(stack[0]), err },
		run: func(n int) (time.Duration, error) {
			return measure.Thread(func() error {
				for range n {
					if err := call(); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}, nil
}
