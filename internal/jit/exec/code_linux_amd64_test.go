package exec

// savedFirst is where a [Saved] has R9.
const savedFirst = 0

// adder adds R1 to R6 and R9, leaves at site 7 with R6 as operand, then, from
// adderResume on, returns R9 + answer.
var adder = []byte{
	0x48, 0x01, 0xfb, // add rbx, rdi
	0x49, 0x01, 0xff, // add r15, rdi
	0x48, 0x89, 0xda, // mov rdx, rbx
	0xb9, 7, 0, 0, 0, // mov ecx, 7
	0x41, 0xff, 0x64, 0x24, OffExit, // jmp [r12+exit]
	0x4c, 0x89, 0xf8, // resume: mov rax, r15
	0x48, 0x01, 0xd0, // add rax, rdx
	0xc3, // ret
}

const adderResume = 19

// leaf returns to Go.
var leaf = []byte{0x59, 0xff, 0xe1} // pop rcx; jmp rcx

// constant returns n.
func constant(n uint16) []byte {
	return append([]byte{0xb8, byte(n), byte(n >> 8), 0, 0}, leaf...) // mov eax, n
}
