package verifier

import (
	"slices"
	"strings"
)

// What is particular to single kernel functions and tracepoints: facts that
// their types do not tell.

// set makes a set of words.
func set(words string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// LSM hooks that programs may not attach to.
var lsmDisabled = set(`
	vm_enough_memory inode_need_killpriv inode_getsecurity inode_listsecurity inode_copy_up_xattr
	getselfattr getprocattr setprocattr key_getsecurity audit_rule_match xfrm_decode_session ismaclabel
`)

// LSM hooks that may sleep.
var lsmSleepable = set(`
	bpf bpf_map bpf_map_create bpf_map_free bpf_prog bpf_prog_load bpf_token_create bpf_token_free
	bpf_token_cmd bpf_token_capable bprm_check_security bprm_committed_creds bprm_committing_creds
	bprm_creds_for_exec bprm_creds_from_file capget capset cred_prepare file_ioctl file_lock file_open
	file_post_open file_receive inode_create inode_free_security inode_getattr inode_getxattr
	inode_mknod inode_need_killpriv inode_post_setxattr inode_readlink inode_rename inode_rmdir
	inode_setattr inode_setxattr inode_symlink inode_unlink kernel_module_request kernel_read_file
	kernfs_init_security path_unlink path_mkdir path_rmdir path_truncate path_symlink path_link
	path_rename path_chmod path_chown mmap_file netlink_send path_notify release_secctx
	sb_alloc_security sb_eat_lsm_opts sb_kern_mount sb_mount sb_remount sb_set_mnt_opts sb_show_options
	sb_statfs sb_umount settime socket_accept socket_bind socket_connect socket_create
	socket_getpeername socket_getpeersec_dgram socket_getsockname socket_getsockopt socket_listen
	socket_post_create socket_recvmsg socket_sendmsg socket_shutdown socket_socketpair syslog
	task_alloc current_getsecid_subj task_getsecid_obj task_prctl task_setscheduler userns_create
`)

// LSM hooks whose arguments may be dying objects.
var lsmUntrusted = set(`
	bpf_map_free bpf_prog_free file_alloc_security file_free_security sk_alloc_security
	sk_free_security task_free
`)

// LSM hooks that answer yes or no.
var lsmBool = set(`
	xfrm_state_pol_flow_match audit_rule_known inode_xattr_skipcap
`)

// LSM hooks of control groups during which sockets' options may be read and set.
var lsmSockopt = set(`
	sock_graft inet_csk_clone inet_conn_established socket_post_create socket_socketpair
`)

// Functions that no tracing program may attach to,
var traceDenied = set(`
	migrate_disable migrate_enable rcu_read_unlock_strict preempt_count_add preempt_count_sub
	__rcu_read_lock __rcu_read_unlock
`)

// and those that never return, so that nothing can run after them.
var traceNoReturn = set(`
	__ia32_sys_exit __ia32_sys_exit_group __kunit_abort kunit_try_catch_throw __module_put_and_kthread_exit
	__x64_sys_exit __x64_sys_exit_group do_exit do_group_exit kthread_complete_and_exit kthread_exit make_task_dead
`)

// Functions in which bpf_d_path may be called.
var dPathAllowed = set(`
	security_file_permission security_inode_getattr security_file_open security_path_truncate
	vfs_truncate vfs_fallocate dentry_open vfs_getattr filp_close
`)

// modifiable reports whether a program may change what a kernel function
// returns (ALLOW_ERROR_INJECTION, security hooks, the test functions).
func modifiable(name string) bool {
	for _, p := range []string{"security_", "__x64_sys_", "__ia32_sys_", "__arm64_sys_", "bpf_modify_return_test"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return slices.Contains([]string{"bpf_fentry_test1", "should_failslab", "should_fail_alloc_page"}, name)
}

// mayBeBad is, per tracepoint, what arguments of it may be instead of good
// pointers: a hexadecimal digit for each argument from the lowest, bit 0 for
// NULL, bit 1 for an error number.
var mayBeBad = map[string]uint64{
	"afs_flock_ev":                     0x10,
	"afs_make_fs_call":                 0x10,
	"afs_make_fs_call1":                0x10,
	"afs_make_fs_call2":                0x10,
	"afs_make_fs_calli":                0x10,
	"afs_protocol_error":               0x1,
	"break_lease_block":                0x10,
	"break_lease_noblock":              0x10,
	"break_lease_unblock":              0x10,
	"cachefiles_io_error":              0x1,
	"cachefiles_lookup":                0x201,
	"cachefiles_mark_active":           0x1,
	"cachefiles_mark_failed":           0x1,
	"cachefiles_mark_inactive":         0x1,
	"cachefiles_ondemand_close":        0x1,
	"cachefiles_ondemand_copen":        0x1,
	"cachefiles_ondemand_cread":        0x1,
	"cachefiles_ondemand_fd_release":   0x1,
	"cachefiles_ondemand_fd_write":     0x1,
	"cachefiles_ondemand_open":         0x1,
	"cachefiles_ondemand_read":         0x1,
	"cachefiles_prep_read":             0x1,
	"cachefiles_rename":                0x1,
	"cachefiles_unlink":                0x1,
	"cachefiles_vfs_error":             0x1,
	"device_pm_callback_start":         0x10,
	"ext4_mballoc_discard":             0x10,
	"ext4_mballoc_free":                0x10,
	"fcntl_setlk":                      0x10,
	"fib_table_lookup":                 0x100,
	"flock_lock_inode":                 0x10,
	"folio_wait_writeback":             0x10,
	"generic_delete_lease":             0x10,
	"host1x_cdma_push_gather":          0x10000,
	"hugetlbfs_alloc_inode":            0x10,
	"kfree_skb":                        0x1000,
	"locks_remove_posix":               0x10,
	"mm_collapse_huge_page_isolate":    0x1,
	"mm_khugepaged_collapse_file":      0x10,
	"mm_khugepaged_scan_file":          0x10,
	"mm_khugepaged_scan_pmd":           0x10,
	"mm_page_alloc":                    0x1,
	"mm_page_alloc_zone_locked":        0x1,
	"mm_page_pcpu_drain":               0x1,
	"mr_integ_alloc":                   0x2000,
	"netfs_failure":                    0x10,
	"posix_lock_inode":                 0x10,
	"qdisc_dequeue":                    0x1000,
	"rxrpc_recvdata":                   0x1,
	"rxrpc_resend":                     0x10,
	"sched_pi_setprio":                 0x10,
	"sched_stick_numa":                 0x100,
	"sched_swap_numa":                  0x100,
	"tcp_send_reset":                   0x11,
	"tcp_sendmsg_locked":               0x100,
	"tegra_dma_tx_status":              0x100,
	"time_out_leases":                  0x10,
	"tmigr_update_events":              0x1,
	"writeback_dirty_folio":            0x10,
	"xfs_blockgc_flush_all":            0x1,
	"xfs_blockgc_free_space":           0x10,
	"xfs_blockgc_start":                0x1,
	"xfs_blockgc_stop":                 0x1,
	"xfs_blockgc_worker":               0x1,
	"xfs_btree_overlapped_query_range": 0x100,
	"xfs_btree_updkeys":                0x100,
	"xfs_defer_add_item":               0x1,
	"xfs_defer_cancel_item":            0x1,
	"xfs_defer_cancel_list":            0x1,
	"xfs_defer_create_intent":          0x1,
	"xfs_defer_finish_item":            0x1,
	"xfs_defer_isolate_paused":         0x1,
	"xfs_defer_item_pause":             0x1,
	"xfs_defer_item_unpause":           0x1,
	"xfs_defer_pending_abort":          0x1,
	"xfs_defer_pending_finish":         0x1,
	"xfs_defer_relog_intent":           0x1,
	"xfs_fs_sync_fs":                   0x1,
	"xfs_inodegc_flush":                0x1,
	"xfs_inodegc_push":                 0x1,
	"xfs_inodegc_queue":                0x1,
	"xfs_inodegc_start":                0x1,
	"xfs_inodegc_stop":                 0x1,
	"xfs_inodegc_throttle":             0x1,
	"xfs_ioc_free_eofblocks":           0x10,
	"xfs_map_blocks_alloc":             0x10000,
	"xfs_map_blocks_found":             0x10000,
	"xprt_get_cong":                    0x10,
	"xprt_put_cong":                    0x10,
	"xprt_release_cong":                0x10,
	"xprt_reserve_cong":                0x10,
	"xs_stream_read_data":              0x1,
}

// iterArgs are the arguments of iterators that are not trusted pointers, by
// iterator and place: "n" NULL, "t" trusted, "b" a buffer, "r" a buffer to read only.
var iterArgs = map[string][]string{
	"bpf_link":           {"", "n"},
	"bpf_map":            {"", "nt"},
	"bpf_map_elem":       {"", "", "r", "b"},
	"bpf_prog":           {"", "n"},
	"bpf_sk_storage_map": {"", "", "n", "b"},
	"cgroup":             {"", "nt"},
	"dmabuf":             {"", "n"},
	"ipv6_route":         {"", "n"},
	"kmem_cache":         {"", "nt"},
	"ksym":               {"", "n"},
	"netlink":            {"", "n"},
	"sockmap":            {"", "", "r", "n"},
	"task":               {"", "nt"},
	"task_file":          {"", "n", "", "n"},
	"task_vma":           {"", "n", "n"},
	"tcp":                {"", "nt"},
	"udp":                {"", "nt"},
	"unix":               {"", "n"},
}
