//! `hone backup` and `hone restore`: a data directory, copied and put back.

use crate::cli::{BackupArgs, RestoreArgs};
use crate::context::{CommandResult, Context};
use crate::output::Output;
use hone_daemon::backup::{self, BackupManifest};
use hone_daemon::dirs;

/// Copies the data directory.
///
/// # Errors
/// There is none, the target is there already, or a disk refuses.
pub fn make(context: &Context, args: &BackupArgs) -> CommandResult {
    let data_dir = context.config(Vec::new())?.config.server.data_dir;
    dirs::keep_private();
    hone_daemon::files::take()?;
    let manifest = backup::make(&data_dir, &args.to)?;
    told(
        context.output,
        &manifest,
        &format!("{} is in {}", data_dir.display(), args.to.display()),
    )?;
    match &manifest.audit {
        Some(trail) => context.output.say(format_args!(
            "the audit trail has {} rows, and its head is {}",
            trail.rows, trail.head
        )),
        None => {
            context.output.say("its audit trail cannot be followed; `hone audit verify` says why")
        }
    }
    context.output.say("whoever has it can read every prompt; base/, runs/ and drop/ are left out");
    Ok(())
}

/// Puts a backup back.
///
/// # Errors
/// The backup is not whole, or the data directory is not empty.
pub async fn restore(context: &Context, args: &RestoreArgs) -> CommandResult {
    let data_dir = context.config(Vec::new())?.config.server.data_dir;
    dirs::keep_private();
    let manifest = backup::restore(&args.from, &data_dir).await?;
    let place = format!("{} is in {}", args.from.display(), data_dir.display());
    told(context.output, &manifest, &place)?;
    context
        .output
        .say("every hash was right; `hone serve` packs the model again at its first start");
    Ok(())
}

fn told(output: Output, manifest: &BackupManifest, place: &str) -> CommandResult {
    if output.is_json() {
        output.value(manifest)?;
    }
    let bytes: u64 = manifest.files.iter().map(|entry| entry.bytes).sum();
    let (files, mebibytes) = (manifest.files.len(), bytes as f64 / f64::from(1 << 20));
    output.line(format_args!("{place}: {files} files, {mebibytes:.1} MiB"))?;
    Ok(())
}
