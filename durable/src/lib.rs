//! Files and folders that are whole or not there, whatever happens: a kill, a full disk, a power cut.
//!
//! ```text
//! write aside, in the same folder  ->  fsync  ->  rename  ->  fsync of the folder
//! ```
//!
//! Whoever reads a name sees the old content or the new, never a mixture; and after the return the new content survives a power
//! cut, since a name is on the disk only when its folder is.
//!
//! What is written aside is called `.unfinished-…` and holds the kernel's lock, which ends with its process, however it ends:
//! what nobody holds, nobody needs, and [`sweep`] removes it. So several processes may write into one folder, and each may sweep.

#![forbid(unsafe_code)]

mod aside;
mod folder;
mod sweep;
mod write;

pub use folder::AsideFolder;
pub use sweep::sweep;
pub use write::{create_private, rename, replace, sync_dir, write_synced};
