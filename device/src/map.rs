//! Files that are mapped into memory.
#![allow(unsafe_code)] // mapping; the block says why it is sound

use std::{fs::File, io, ops::Deref, sync::Arc};

use memmap2::Mmap;

/// A file, mapped read-only, so that several processes share its pages. A clone is a reference to the same map.
#[derive(Clone, Debug)]
pub struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// Maps an open file, which must not be changed in place as long as it is mapped.
    ///
    /// # Errors
    /// The system's.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only. Model files are not changed in place: packed ones are written aside and renamed, and
        // a source is only read while it is packed.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(Arc::new(map)))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
