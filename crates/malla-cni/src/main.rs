//! malla-cni.
fn main() {}
