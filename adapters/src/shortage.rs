//! What the system ran short of says nothing of the file that was asked for.

/// Whether the system had too little of something, which says nothing of the file: files that may be open (EMFILE, ENFILE), or
/// memory.
pub(crate) fn is_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|shortage| error.raw_os_error() == Some(shortage.raw_os_error()))
}
