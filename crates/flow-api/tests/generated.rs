//! The committed Rust is what the `.proto` files say. `cargo xtask generate` runs this with MALLA_GENERATE=1, which
//! writes instead of comparing: one generator, and nobody needs it, or protoc, to build.

use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;

const FILES: [&str; 5] =
    ["flow/flow.proto", "malla/ended.proto", "observer/observer.proto", "peer/peer.proto", "relay/relay.proto"];

#[test]
fn the_committed_code_is_current() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let generated = generate(&crate_folder.join("proto"));
    let folder = crate_folder.join("src/generated");
    if std::env::var_os("MALLA_GENERATE").is_some() {
        for (name, bytes) in &generated {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let committed: BTreeMap<String, Vec<u8>> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&generated));
    for (name, bytes) in generated {
        assert!(committed[&name] == bytes, "src/generated/{name} is not what proto/ says: run `cargo xtask generate`");
    }
}

fn generate(protos: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut compiler = protox::Compiler::new([protos]).unwrap();
    compiler.include_imports(true).open_files(FILES).unwrap();
    let descriptors = compiler.file_descriptor_set();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())
        .unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(out.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        // Packages without a message of ours.
        .filter(|(name, _)| FILES.iter().any(|file| name.trim_end_matches(".rs") == file.split('/').next().unwrap()))
        .collect();
    files.insert("descriptors.bin".to_owned(), descriptors.encode_to_vec());
    files
}
