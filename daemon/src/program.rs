//! This program, started again.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The image of this process on Linux, also where the file that it was read from has been replaced: an upgrade under a
/// running daemon must not stop its training, nor train with a program that is not its own.
const IMAGE: &str = "/proc/self/exe";

/// A command that runs this same program.
pub fn again() -> Command {
    let image = std::path::Path::new(IMAGE);
    let own = if image.exists() { Ok(image.to_owned()) } else { std::env::current_exe() };
    // Without either, the path finds it or the start says what is missing.
    let mut command = Command::new(own.unwrap_or_else(|_| "hone".into()));
    command.arg0("hone");
    command
}

/// Gives this process its name in lists of processes: one that was started by its image is called `exe`.
pub fn take_name() {
    // Where the system has no such file it has no such name either.
    let _ = fs_err::write("/proc/self/comm", "hone");
}
