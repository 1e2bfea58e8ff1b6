// Command gen writes the example captures: small, made of real protocol layers
// and the same bytes on every machine, so that what a program does with them can
// be asserted to the last counter.
//
//	go run ./examples/captures/gen            # rewrites examples/captures
//	go run ./examples/captures/gen -o DIR     # writes elsewhere
//
// Addresses are those set aside for documentation (RFC 5737, RFC 3849), MAC
// addresses are locally administered.
package main

import (
	"flag"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	dir := flag.String("o", filepath.Join("examples", "captures"), "directory to write the captures to")
	flag.Parse()
	for _, c := range captures {
		if err := os.WriteFile(filepath.Join(*dir, c.name), c.bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
