// Package bpf holds the kernel half of the product: the C programs, their
// headers, and the bindings and objects generated from them.
//
// It must not know anything of user space: there is no logic in Go here.
// Package probe loads, attaches and reads what this package defines.
//
// maps/ has one header for each map, include/ the layout that both halves share
// and the few kernel types that are read, as minimal CO-RE structures.
package bpf

// The flags are part of what check-generated compares: a padding hole in a
// structure that user space reads is an error, not a surprise.
//
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -type address -type flow_key -type flow -type socket -type settings -type port_rule -type prefix_key -type source_key -type closed -type readiness_key -type readiness -type local_listeners -type verdict_key -type image -type known_image -type file_id -type budget -type cgroup_facts -type counter -type socket_mark -type flow_kind -type port_flag -type setting_flag -type unknown_policy -type verdict -output-stem connect Connect connect.bpf.c -- -I. -isystem /usr/include/x86_64-linux-gnu -isystem /usr/include/aarch64-linux-gnu -mcpu=v3 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -output-stem handshake Handshake handshake.bpf.c -- -I. -isystem /usr/include/x86_64-linux-gnu -isystem /usr/include/aarch64-linux-gnu -mcpu=v3 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type process -type whoami -type lifecycle -type file_query -type identified -type counted -output-stem process Process process.bpf.c -- -I. -isystem /usr/include/x86_64-linux-gnu -isystem /usr/include/aarch64-linux-gnu -mcpu=v3 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter
