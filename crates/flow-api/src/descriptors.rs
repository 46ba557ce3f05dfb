//! What the messages are called, for those who ask at run time: reflection, JSON and field masks.

use prost_reflect::DescriptorPool;
use std::sync::LazyLock;

/// The `.proto` files of this crate and those they import: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// The same, decoded once.
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        // tests/generated.rs holds the committed bytes against the sources, so that they can't be broken.
        DescriptorPool::decode(DESCRIPTORS).expect("the committed descriptors are whole")
    });
    &POOL
}
