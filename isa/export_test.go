package isa

// What the tests beside the package (which may import what imports it) use of it.
var (
	Instances      = instances
	KernelOpcodes  = kernelOpcodes
	EncodingErrors = encodingErrors
)
