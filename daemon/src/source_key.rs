//! The key of the hashes that stand for whoever asks and corrects.
//!
//! Without a key, whoever holds the log could find out who said what by trying names. It is made
//! once: under another one all who came before are strangers.

use std::path::Path;

use anyhow::bail;

/// Bytes of the key.
const LENGTH: usize = 32;

/// Reads the key, or makes it at the first start.
///
/// # Errors
/// The disk's, or the file is no key; the words say what to do.
pub fn open(path: &Path) -> anyhow::Result<[u8; LENGTH]> {
    match fs_err::read(path) {
        Ok(bytes) => match <[u8; LENGTH]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(key),
            Err(_) => bail!(
                "{} has {} bytes instead of {LENGTH}; restore it from a backup, or remove it: then \
                 a new one is made, and those who gave feedback before count as strangers",
                path.display(),
                bytes.len()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error.into()),
    }
}

fn make(path: &Path) -> anyhow::Result<[u8; LENGTH]> {
    let key: [u8; LENGTH] = rand::random();
    hone_durable::create_private(path, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.key");
        let key = open(&path).unwrap();
        assert_ne!(key, [0; LENGTH]);
        assert_eq!(open(&path).unwrap(), key);
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
        let other = folder.path().join("other.key");
        assert_ne!(open(&other).unwrap(), key);
    }

    #[test]
    fn what_is_no_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.key");
        fs_err::write(&path, "short").unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("source.key has 5 bytes instead of 32"), "{error}");
        assert_eq!(fs_err::read(&path).unwrap(), b"short");
    }
}
