package image_test

import (
	"fmt"

	"github.com/skep-bpf/skep/image"
)

// An object's programs and maps, linked for the running kernel.
func ExampleLoadFile() {
	img, err := image.LoadFile("../examples/tc_prio/tc_prio.o", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range img.Programs {
		fmt.Printf("%s: %v program in section %s\n", p.Name, p.Type, p.Section)
	}
	for _, m := range img.Maps {
		fmt.Printf("%s: %v of %d-byte values\n", m.Name, m.Type, m.ValueSize)
	}
	// Output:
	// tc_prio: sched_cls program in section tc
	// class_by_port: hash of 4-byte values
	// bytes_by_priority: array of 8-byte values
	// .rodata: array of 35-byte values
}

// Constants are set before a program is verified, so that it is verified with them.
func ExampleImage_SetConst() {
	img, err := image.LoadFile("testdata/data.o", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(img.SetConst("limit", "250"))
	fmt.Println(img.SetConst("mode", "SOMETIMES"))
	v, _ := img.Variable("limit")
	fmt.Println(v.Map.Name, v.Off, v.Bytes())
	// Output:
	// <nil>
	// section .rodata: mode: cannot set variable: cannot read value: at column 1, "SOMETIMES": neither a number nor one of OFF, ON, AUTO
	// .rodata 0 [250 0 0 0]
}
