//! From a folder somewhere to an adapter of the registry.
//!
//! Prevents half an adapter from ever being visible, and the difference between what was checked
//! and what is used: the files are copied first, the copy is verified, and one rename publishes it.

use std::path::PathBuf;
use std::sync::PoisonError;

use fail::fail_point;
use hone_api::adapter::{AdapterView, Provenance};
use hone_api::{AdapterId, UnixMillis};
use hone_durable::AsideFolder;

use crate::config::MAX_CONFIG;
use crate::fs::{check_adapter_name, copy_bounded};
use crate::verify::{file_refusal, max_weight_file, refuse_pickles, too_large, verify_within};
use crate::{AdapterManifest, CONFIG, Error, Refusal, Registry, Result, WEIGHTS};

/// What to import.
#[derive(Debug, Clone)]
pub struct Import {
    /// The new adapter's id.
    pub id: AdapterId,
    /// A folder in PEFT's layout.
    pub source: PathBuf,
    /// The name it shall have.
    pub name: Option<String>,
    /// Where the weights come from.
    pub provenance: Provenance,
    /// The present.
    pub now: UnixMillis,
}

impl Registry {
    /// Copies a folder in, verifies the copy and publishes it as a candidate. Durable when it
    /// returns. Importing the same weights again under the same id, or the same name, returns the
    /// adapter that is there, so that a caller that was killed can simply repeat the call.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Name`], [`Error::NameTaken`], [`Error::Exists`]; the disk's.
    /// Nothing is left behind then.
    pub fn import(&self, import: Import) -> Result<AdapterView> {
        if let Some(name) = &import.name {
            check_adapter_name(name)?;
        }
        let _one_at_a_time = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = AsideFolder::within(&self.root)?;
        fail_point!("import.stage");
        self.stage_and_publish(import, staging)
    }

    fn stage_and_publish(&self, import: Import, aside: AsideFolder) -> Result<AdapterView> {
        let Import { id, source, name, provenance, now } = import;
        let staging = aside.path();
        let folder = source.file_name().unwrap_or(source.as_os_str()).to_string_lossy();
        let refused = |refusal| Error::Refused { folder: folder.clone().into_owned(), refusal };
        // What the system lacks is not the folder's fault.
        let fault = |refusal| match refusal {
            Refusal::Shortage(errno) => Error::Io(std::io::Error::from_raw_os_error(errno)),
            refusal => refused(refusal),
        };
        refuse_pickles(&source).map_err(fault)?;
        for (file, limit) in [(CONFIG, MAX_CONFIG), (WEIGHTS, max_weight_file(&self.base))] {
            let from = source.join(file);
            copy_bounded(&from, &staging.join(file), limit).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::FileTooLarge if file == WEIGHTS => {
                        refused(too_large(&from, limit))
                    }
                    _ => copy_error(file, limit, error, refused),
                }
            })?;
        }
        let verified = verify_within(staging, &self.base, &crate::verify::VerifyLimits::default())
            .map_err(fault)?;
        let base_digest = self.base.digest.clone();
        let manifest =
            AdapterManifest::of_candidate(id, name, provenance, base_digest, &verified, now);
        fail_point!("import.verify");
        manifest.write(staging)?;
        fail_point!("manifest.write");

        let _one_at_a_time = self.changing();
        let there = self.read().manifests.get(&id).cloned();
        if let Some(there) = there {
            let same = there.sha256 == manifest.sha256;
            return if same { Ok(there.view()) } else { Err(Error::Exists(id)) };
        }
        let name = manifest.name.as_deref();
        let holder = name.and_then(|name| self.read().lookalike(name, id).cloned());
        if let (Some(name), Some(holder)) = (name, holder) {
            let same = holder.name.as_deref() == Some(name) && holder.sha256 == manifest.sha256;
            if same && holder.base_digest == manifest.base_digest {
                return Ok(holder.view());
            }
            return Err(Error::NameTaken { name: name.to_owned(), holder: holder.id });
        }
        let target = self.dir(id);
        if target.exists() {
            return Err(Error::Exists(id)); // damaged, and therefore not listed
        }
        aside.publish(&target)?;
        Ok(self.insert(manifest))
    }
}

/// A failure while copying is the folder's fault when the folder's file could not be read.
fn copy_error(
    file: &str,
    limit: u64,
    error: std::io::Error,
    refused: impl Fn(Refusal) -> Error,
) -> Error {
    use std::io::ErrorKind::{FileTooLarge, InvalidInput, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | FileTooLarge | InvalidInput | PermissionDenied => {
            refused(file_refusal(file, limit, &error))
        }
        _ => Error::Io(error),
    }
}
