//! Who may import whom. The order is ARCHITECTURE.md's diagram; an edge upwards or sideways turns
//! the crates into one big crate, slowly.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Crate and layer; a crate may depend on crates of lower layers only.
const LAYERS: [(&str, u8); 21] = [
    ("hone-api", 0),
    ("hone-config", 0),
    ("hone-durable", 0),
    ("hone-peft", 0),
    ("hone-machine", 0),
    ("hone-text", 1),
    ("hone-device", 1),
    ("hone-model", 2),
    ("hone-adapters", 2),
    ("hone-store", 2),
    ("hone-dataset", 2),
    ("hone-hub", 2),
    ("hone-engine", 3),
    ("hone-trainer", 3),
    ("hone-server", 4),
    ("hone-eval", 4),
    ("hone-mistral", 4),
    ("hone-daemon", 5),
    ("hone", 6),
    ("hone-tests", 7),
    ("hone-xtask", 7),
];

/// What a crate must not know, whatever its layer: ideas that belong to one other crate.
const FORBIDDEN: [(&str, &[&str]); 13] = [
    ("hone-api", &["tokio", "candle-core", "rusqlite", "actix-web"]),
    ("hone-text", &["candle-core", "actix-web", "rusqlite", "tokio"]),
    ("hone-device", &["candle-core", "tokenizers", "actix-web", "rusqlite", "tokio"]),
    ("hone-model", &["actix-web", "rusqlite", "tokio"]),
    ("hone-adapters", &["candle-core", "actix-web", "rusqlite"]),
    ("hone-store", &["candle-core", "actix-web"]),
    ("hone-dataset", &["candle-core", "rusqlite", "tokio"]),
    ("hone-hub", &["hone-model", "candle-core", "actix-web", "rusqlite"]),
    ("hone-engine", &["actix-web", "rusqlite"]),
    ("hone-trainer", &["actix-web", "rusqlite", "hone-engine"]),
    ("hone-server", &["hone-model", "rusqlite"]),
    ("hone-mistral", &["actix-web", "rusqlite", "hone-adapters"]),
    ("hone-daemon", &["clap", "indicatif", "rustyline"]),
];

/// Fails with every edge that breaks the order.
pub(crate) fn check(root: &Path) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cargo metadata did not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong = violations(&serde_json::from_slice(&output.stdout)?);
    if !wrong.is_empty() {
        bail!("these dependencies break the layers of ARCHITECTURE.md:\n{}", wrong.join("\n"));
    }
    Ok(())
}

fn violations(metadata: &Value) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().find(|(n, _)| *n == name).map(|(_, layer)| *layer);
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = layer(name) else {
            wrong.push(format!("{name} has no layer; add it to xtask/src/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            // Tests may look upwards.
            if !dependency["kind"].is_null() {
                continue;
            }
            if layer(on).is_some_and(|other| other >= own) {
                wrong.push(format!("{name} -> {on}: not a lower layer"));
            }
            let forbidden = FORBIDDEN.iter().find(|(n, _)| *n == name);
            if forbidden.is_some_and(|(_, ideas)| ideas.contains(&on)) {
                wrong.push(format!("{name} -> {on}: another crate's idea"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_layers() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }

    #[test]
    fn an_upward_edge_is_named() {
        let metadata = serde_json::json!({"packages": [
            {"name": "hone-store", "dependencies": [{"name": "hone-server", "kind": null}]},
            {"name": "hone-api", "dependencies": [{"name": "tokio", "kind": null}]},
        ]});
        assert_eq!(
            violations(&metadata),
            [
                "hone-store -> hone-server: not a lower layer",
                "hone-api -> tokio: another crate's idea",
            ]
        );
    }
}
