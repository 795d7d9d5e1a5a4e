//! Checks on the workspace itself.
//!
//! ```text
//! cargo run -p hone-xtask -- layers    crates may only use crates of lower layers, modules no circle of others,
//!                                          and public types no name twice
//! cargo run -p hone-xtask -- sizes     how large the code is; no source file outgrows one idea
//! ```

#![forbid(unsafe_code)]

mod circles;
mod layers;
mod names;
mod sizes;

use std::io::Write;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match std::env::args().nth(1).as_deref() {
        Some("layers") => {
            layers::check(&root)?;
            circles::check(&root)?;
            names::check(&root)
        }
        Some("sizes") => Ok(writeln!(std::io::stdout(), "{}", sizes::check(&root)?)?),
        _ => anyhow::bail!("usage: cargo run -p hone-xtask -- layers|sizes"),
    }
}
