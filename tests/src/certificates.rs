//! Certificates for tests: an authority, and what it gives to this machine.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// The files of a daemon with TLS, in PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Who trusts this trusts the daemon.
    pub authority: PathBuf,
    /// The daemon's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Files in `folder`; none of them is there yet.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("tls.pem"),
            key: folder.join("tls.key"),
        }
    }

    /// A new authority, and from it a new certificate for 127.0.0.1.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue(&self) -> Result<()> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?;
        let certificate = certificate.signed_by(&key, &authority)?;
        fs_err::write(&self.authority, authority.pem())?;
        fs_err::write(&self.certificate, certificate.pem())?;
        fs_err::write(&self.key, key.serialize_pem())?;
        Ok(())
    }

    /// The settings of a daemon with these.
    #[must_use]
    pub fn config(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("[server]\ntls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n")
    }
}
