package ui

// SysctlUsage is the help of --sysctl, which the commands have that make a machine for others.
const SysctlUsage = "begin with a setting, `NAME=VALUE`: kernel.unprivileged_bpf_disabled, kernel.bpf_stats_enabled, net.core.bpf_jit_enable, net.core.bpf_jit_harden"
