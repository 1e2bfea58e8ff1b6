; XDP: drops frames shorter than 64 bytes, passes the others.
	r2 = *(u32 *)(r1 + 0)   ; data
	r3 = *(u32 *)(r1 + 4)   ; data_end
	r2 += 64
	r0 = 1                  ; XDP_DROP
	if r2 > r3 goto out
	r0 = 2                  ; XDP_PASS
out:
	exit
