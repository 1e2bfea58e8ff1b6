// Prints what libbpf makes of an object: each map's definition, and each
// program's instructions, function and line records as they go to the kernel.
//
//	libbpf OBJECT [TARGET-BTF|- [KCONFIG]]
//
//	version <major>.<minor>
//	map   <name> <type> <key size> <value size> <max entries> <flags> <extra> <key id> <value id> <fd>
//	prog  <name> <section> <type> <attach type>
//	fds   <name> <map's kernel name>=<fd>…   of the maps the instructions refer to
//	insns <name> <hex>
//	funcs <name> <record size> <hex>
//	lines <name> <record size> <hex>
//	error <what> <code>
//
// Programs are loaded one by one, so that one the kernel refuses hides nothing.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN && getenv("VERBOSE") ? vfprintf(stderr, fmt, args) : 0;
}

static void hex(const void *data, size_t n)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i++)
		printf("%02x", p[i]);
	putchar('\n');
}

static int show(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
	const char *name = bpf_program__name(prog);
	const struct bpf_insn *insn = bpf_program__insns(prog);

	printf("fds %s", name);
	for (size_t i = 0; i < bpf_program__insn_cnt(prog); i++) {
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);

		if (insn[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if ((insn[i].src_reg == BPF_PSEUDO_MAP_FD || insn[i].src_reg == BPF_PSEUDO_MAP_VALUE) &&
		    !bpf_obj_get_info_by_fd(insn[i].imm, &info, &len))
			printf(" %s=%d", info.name, insn[i].imm);
		i++;
	}
	printf("\ninsns %s ", name);
	hex(insn, bpf_program__insn_cnt(prog) * sizeof(struct bpf_insn));
	printf("funcs %s %u ", name, opts->func_info_rec_size);
	hex(opts->func_info, (size_t)opts->func_info_cnt * opts->func_info_rec_size);
	printf("lines %s %u ", name, opts->line_info_rec_size);
	hex(opts->line_info, (size_t)opts->line_info_cnt * opts->line_info_rec_size);
	return -1; // seen enough
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts,
		.btf_custom_path = argc > 2 && strcmp(argv[2], "-") ? argv[2] : NULL,
		.kconfig = argc > 3 ? argv[3] : NULL);
	LIBBPF_OPTS(libbpf_prog_handler_opts, handler, .prog_prepare_load_fn = show);
	struct bpf_object *obj;
	struct bpf_program *prog;
	struct bpf_map *map;
	int err, n = 0;

	libbpf_set_print(quiet);
	printf("version %u.%u\n", libbpf_major_version(), libbpf_minor_version());
	obj = bpf_object__open_file(argv[1], &opts);
	if (!obj) {
		printf("error open %s\n", argv[1]);
		return 0;
	}
	bpf_object__for_each_map(map, obj)
		printf("map %s %d %u %u %u %u %llu %u %u\n", bpf_map__name(map), bpf_map__type(map),
		       bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__max_entries(map),
		       bpf_map__map_flags(map), (unsigned long long)bpf_map__map_extra(map),
		       bpf_map__btf_key_type_id(map), bpf_map__btf_value_type_id(map));
	bpf_object__for_each_program(prog, obj) {
		printf("prog %s %s %d %d\n", bpf_program__name(prog), bpf_program__section_name(prog),
		       bpf_program__type(prog), bpf_program__expected_attach_type(prog));
		libbpf_register_prog_handler(bpf_program__section_name(prog), bpf_program__type(prog),
					     bpf_program__expected_attach_type(prog), &handler);
		n++;
	}
	bpf_object__close(obj);

	for (int i = 0; i < n; i++) {
		int j = 0;
		const char *name = "?";

		obj = bpf_object__open_file(argv[1], &opts);
		if (!obj)
			return 1;
		bpf_object__for_each_program(prog, obj) {
			bpf_program__set_autoload(prog, i == j);
			if (i == j++)
				name = bpf_program__name(prog);
		}
		err = bpf_object__load(obj);
		if (err != -1)
			printf("error load %s %d\n", name, err);
		bpf_object__close(obj);
	}
	return 0;
}
