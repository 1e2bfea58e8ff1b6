// Uses libbpf's API for what programs built on it do, and prints what it sees.
// It is run on the kernel as root and under skep as nobody; the output is compared.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAY(...) (printf(__VA_ARGS__), fflush(stdout))

static int on_event(void *ctx, void *data, size_t size)
{
	__u32 *v = data;
	SAY("event %zu bytes: length %u, number %u\n", size, v[0], v[1]);
	return 0;
}

static void on_sample(void *ctx, int cpu, void *data, __u32 size)
{
	SAY("sample of at least %u bytes: %u\n", 4, *(__u32 *)data);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args) { return 0; }

int main(int argc, char **argv)
{
	struct bpf_object *obj;
	struct bpf_map *map;
	struct bpf_program *prog, *count, *drain;
	char path[256], bytes[64] = {0}, out[128] = {0};
	int err, i;

	libbpf_set_print(quiet);
	obj = bpf_object__open_file(argv[1], NULL);
	if (!obj)
		return SAY("open: %s\n", strerror(errno)), 1;
	__u32 limit = 40;
	map = bpf_object__find_map_by_name(obj, ".rodata");
	size_t size;
	memcpy((void *)bpf_map__initial_value(map, &size), &limit, sizeof(limit));
	bpf_map__set_max_entries(bpf_object__find_map_by_name(obj, "counts"), 100);
	if ((err = bpf_object__load(obj)))
		return SAY("load: %s\n", strerror(-err)), 1;
	bpf_object__for_each_map(map, obj) {
		const char *name = bpf_map__name(map), *dot = strrchr(name, '.');
		SAY("map %s: type %d, key %u, value %u, entries %d, flags %#x\n", dot ? dot : name, bpf_map__type(map), bpf_map__key_size(map),
		    bpf_map__value_size(map), bpf_map__type(map) == BPF_MAP_TYPE_PERF_EVENT_ARRAY ? -1 : (int)bpf_map__max_entries(map), bpf_map__map_flags(map));
	}
	bpf_object__for_each_program(prog, obj) {
		struct bpf_prog_info info = {0};
		__u32 len = sizeof(info);
		err = bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len);
		SAY("program %s: section %s, type %d, info %d %s, maps %u, btf %d, gpl %d\n", bpf_program__name(prog), bpf_program__section_name(prog),
		    bpf_program__type(prog), err, info.name, info.nr_map_ids, info.btf_id != 0, info.gpl_compatible);
	}

	// Elements one by one and in batches.
	struct bpf_map *counts = bpf_object__find_map_by_name(obj, "counts");
	__u32 keys[8], more[8], batch, n = 8;
	__u64 values[8], got[8], value = 5;
	__u32 key = 1000;
	SAY("lookup of none: %d\n", bpf_map__lookup_elem(counts, &key, sizeof(key), &value, sizeof(value), 0));
	SAY("update: %d\n", bpf_map__update_elem(counts, &key, sizeof(key), &value, sizeof(value), BPF_NOEXIST));
	SAY("update again: %d\n", bpf_map__update_elem(counts, &key, sizeof(key), &value, sizeof(value), BPF_NOEXIST));
	SAY("wrong size: %d\n", bpf_map__update_elem(counts, &key, 2, &value, sizeof(value), 0));
	SAY("take: %d", bpf_map__lookup_and_delete_elem(counts, &key, sizeof(key), &value, sizeof(value), 0));
	SAY(" %llu\n", value);
	for (i = 0; i < 8; i++)
		keys[i] = 2000 + i, values[i] = i;
	LIBBPF_OPTS(bpf_map_batch_opts, bo);
	err = bpf_map_update_batch(bpf_map__fd(counts), keys, values, &n, &bo);
	SAY("update batch: %d, %u\n", err, n);
	n = 8;
	err = bpf_map_lookup_batch(bpf_map__fd(counts), NULL, &batch, more, got, &n, &bo);
	__u64 sum = 0;
	for (i = 0; i < (int)n; i++)
		sum += more[i] * 10 + got[i];
	SAY("lookup batch: %u, sum %llu\n", n, sum);
	n = 8;
	err = bpf_map_delete_batch(bpf_map__fd(counts), keys, &n, &bo);
	SAY("delete batch: %d, %u\n", err, n);
	SAY("next of none: %d\n", bpf_map__get_next_key(counts, NULL, &key, sizeof(key)));

	// Test runs, and what the program told.
	struct ring_buffer *rb = ring_buffer__new(bpf_map__fd(bpf_object__find_map_by_name(obj, "events")), on_event, NULL, NULL);
	struct perf_buffer *pb = perf_buffer__new(bpf_map__fd(bpf_object__find_map_by_name(obj, "samples")), 1, on_sample, NULL, NULL, NULL);
	SAY("readers: %d %d\n", rb != NULL, pb != NULL);
	count = bpf_object__find_program_by_name(obj, "count");
	for (i = 0; i < 3; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, to, .data_in = bytes, .data_size_in = 20 + 15 * i, .data_out = out, .data_size_out = sizeof(out), .repeat = i + 1);
		err = bpf_prog_test_run_opts(bpf_program__fd(count), &to);
		SAY("run: %d, verdict %u, %u bytes\n", err, to.retval, to.data_size_out);
	}
	SAY("ring: %d\n", ring_buffer__poll(rb, 1000));
	SAY("perf: %d\n", perf_buffer__consume(pb));
	ring_buffer__free(rb);
	perf_buffer__free(pb);
	map = bpf_object__find_map_by_name(obj, ".bss");
	SAY("seen %llu\n", *(__u64 *)bpf_map__initial_value(map, &size));
	key = 35;
	bpf_map__lookup_elem(counts, &key, sizeof(key), &value, sizeof(value), 0);
	SAY("counted %llu\n", value);

	// What user space gives to programs.
	struct user_ring_buffer *ub = user_ring_buffer__new(bpf_map__fd(bpf_object__find_map_by_name(obj, "orders")), NULL);
	for (i = 1; ub && i <= 3; i++) {
		__u32 *v = user_ring_buffer__reserve(ub, sizeof(*v));
		*v = 100 * i;
		user_ring_buffer__submit(ub, v);
	}
	drain = bpf_object__find_program_by_name(obj, "drain");
	LIBBPF_OPTS(bpf_test_run_opts, to, .data_in = bytes, .data_size_in = 60, .repeat = 1);
	err = bpf_prog_test_run_opts(bpf_program__fd(drain), &to);
	__u32 *drained = bpf_map__initial_value(bpf_object__find_map_by_name(obj, ".data"), &size);
	SAY("drain: %d, %u records, sum %u\n", err, to.retval, *drained);
	user_ring_buffer__free(ub);

	// Links and names.
	struct bpf_link *link = bpf_program__attach_xdp(count, 1), *again;
	struct bpf_link_info info = {0};
	__u32 len = sizeof(info);
	if (!link)
		return SAY("attach: %s\n", strerror(errno)), 1;
	err = bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len);
	SAY("link: %d, type %u, device %u\n", err, info.type, info.xdp.ifindex);
	again = bpf_program__attach_xdp(count, 1);
	SAY("once more: %d\n", again ? 0 : errno);
	snprintf(path, sizeof(path), "/sys/fs/bpf/skep-libbpf-%d", getpid());
	SAY("pin: %d\n", bpf_link__pin(link, path));
	bpf_link__disconnect(link);
	bpf_link__destroy(link);
	link = bpf_link__open(path);
	SAY("open: %d\n", link != NULL);
	SAY("replace: %d\n", bpf_link__update_program(link, count));
	SAY("unpin: %d\n", bpf_link__unpin(link));
	SAY("detach: %d\n", bpf_link__detach(link));
	bpf_link__destroy(link);
	SAY("pin map: %d", bpf_map__pin(counts, path));
	int fd = bpf_obj_get(path);
	SAY(" get: %d", fd >= 0);
	close(fd);
	SAY(" again: %d", bpf_obj_pin(bpf_program__fd(count), path) ? errno : 0);
	SAY(" unpin: %d\n", bpf_map__unpin(counts, path));
	if (argc > 2) { // where control groups are
		snprintf(path, sizeof(path), "%s/skep-libbpf-%d", argv[2], getpid());
		mkdir(path, 0755);
		int dir = open(path, O_RDONLY);
		link = bpf_program__attach_cgroup(bpf_object__find_program_by_name(obj, "egress"), dir);
		__u32 ids[4], flags = 9, have = 4;
		err = bpf_prog_query(dir, BPF_CGROUP_INET_EGRESS, 0, &flags, ids, &have);
		SAY("control group: %d, query %d, %u programs, flags %u\n", link != NULL, err, have, flags);
		bpf_link__destroy(link);
		close(dir);
		SAY("rmdir: %d\n", rmdir(path));
	}

	// Types and probes.
	struct btf *vmlinux = btf__load_vmlinux_btf();
	SAY("vmlinux: %d, task_struct %d, nobody %d\n", vmlinux != NULL, btf__find_by_name_kind(vmlinux, "task_struct", BTF_KIND_STRUCT) > 0,
	    btf__find_by_name_kind(vmlinux, "no_such_struct", BTF_KIND_STRUCT));
	struct btf *own = btf__load_from_kernel_by_id(bpf_map__btf_value_type_id(counts) ? ({
		struct bpf_map_info mi = {0};
		len = sizeof(mi);
		bpf_obj_get_info_by_fd(bpf_map__fd(counts), &mi, &len);
		mi.btf_id; }) : 0);
	SAY("own types: %d, same count %d\n", own != NULL, own && btf__type_cnt(own) == btf__type_cnt(bpf_object__btf(obj)));
	for (i = 1; i <= 27; i++)
		if (i != 8 && i != 18 && i != 19 && i != 21 && i != 24 && i != 26) // what the two do not both have is told elsewhere
			SAY("%d%s", libbpf_probe_bpf_map_type(i, NULL), i == 27 ? "\n" : " ");
	SAY("%d %d %d\n", libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL), libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SYSCALL, NULL),
	    libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_redirect, NULL));
	bpf_object__close(obj);
	return 0;
}
