// SPDX-License-Identifier: Apache-2.0
//
// The map both objects define. Who is loaded first makes it and gives it its name
// in the BPF file system (iproute2: tc/globals); the other finds it there.
#include "skep_net.h"

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME); // PIN_GLOBAL_NS
	__type(key, __u32);
	__type(value, struct traffic);
} shared SEC(".maps");
