package isa

// What the tests beside the package (which may import what imports it) use of it.
var (
	Instances      = instances
	KernelOpcodes  = kernelOpcodes
	Faithful       = faithful
	AllDialects    = []Dialect{Assembly, LLVM, LLVMALU32, Kernel}
	EncodingErrors = encodingErrors
)
