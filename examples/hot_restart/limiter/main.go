// Command limiter is a UDP service that can be replaced while it runs: started once more, it takes the socket, the maps
// and the program over from the process that runs, and goes on counting where that one stops.
//
//	go run ./examples/hot_restart/limiter &
//	go run ./examples/hot_restart/limiter
//
// Only on Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("limiter: ")
	addr := flag.String("listen", "127.0.0.1:7007", "where the service is")
	control := flag.String("control", filepath.Join(os.TempDir(), "limiter.sock"), "where its next process finds it")
	quota := flag.Uint64("quota", 1000, "how often a client is let in, if this is the first process")
	flag.Parse()
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, *control, *quota); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// objectFile is limiter.o, in the folder above this source file.
func objectFile() string {
	_, source, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(source), "..", "limiter.o")
}
