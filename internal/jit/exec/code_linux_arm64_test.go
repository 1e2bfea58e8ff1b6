package exec

import "encoding/binary"

// savedFirst is where a [Saved] has R9.
const savedFirst = 8

// adder adds R1 to R6 and R9, leaves at site 7 with R6 as operand, then, from
// adderResume on, returns R9 + answer.
var adder = words(
	0x8b0100c6,               // add x6, x6, x1
	0x8b010129,               // add x9, x9, x1
	0xaa0603ed,               // mov x13, x6
	0x528000f0,               // mov w16, #7
	0xf9400171|OffExit/8<<10, // ldr x17, [x11, #exit]
	0xd61f0220,               // br x17
	0xaa0903e0,               // resume: mov x0, x9
	0x8b0d0000,               // add x0, x0, x13
	0xd65f03c0,               // ret
)

const adderResume = 24

// leaf returns to Go.
var leaf = words(0xd61f03c0) // br x30

// constant returns n.
func constant(n uint16) []byte {
	return append(words(0x52800000|uint32(n)<<5), leaf...) // mov w0, #n
}

func words(list ...uint32) (code []byte) {
	for _, w := range list {
		code = binary.LittleEndian.AppendUint32(code, w)
	}
	return code
}
