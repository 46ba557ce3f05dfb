//! ebpf-builder.
