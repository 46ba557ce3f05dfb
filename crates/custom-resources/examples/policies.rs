//! Writes the definitions that are made from types into `definitions/`, where they are committed; a test compares them:
//! `cargo run -p custom-resources --example policies`.

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions");
    for definition in custom_resources::made_from_types() {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let plural = name.split('.').next().unwrap_or_default();
        fs::write(folder.join(format!("{plural}.yaml")), serde_saphyr::to_string(&definition)?)?;
    }
    Ok(())
}
