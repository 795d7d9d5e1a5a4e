//! TLS by rustls: which files it takes, and how new ones take the place of old ones while the daemon serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// How often the files are looked at. Polled, since what renews certificates swaps files, folders or links of them.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate with those between it and its authority, and its private key; both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates, the server's own first.
    pub certificate: PathBuf,
    /// The key of the first one.
    pub key: PathBuf,
}

/// What serves now.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    now: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.load_full())
    }
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Tls`]: one of them is not there, is not what it should be, or is not the other one's.
    pub(crate) fn open(files: TlsFiles) -> Result<Arc<Self>, Error> {
        let now = ArcSwap::from_pointee(load(&files)?);
        Ok(Arc::new(Self { files, now }))
    }

    /// What a listener needs.
    ///
    /// # Errors
    /// None in practice: the provider knows the protocol's versions.
    pub(crate) fn config(self: &Arc<Self>) -> Result<ServerConfig, Error> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| self.fault(&error))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        Ok(config.with_no_client_auth().with_cert_resolver(resolver))
    }

    /// Follows the files until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut known = stamps(&self.files);
        let mut seen = known;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            let before = std::mem::replace(&mut seen, stamps(&self.files));
            // Two files are written one after the other: only once they rest they belong together.
            if seen == known || seen != before {
                continue;
            }
            known = seen;
            match load(&self.files) {
                Ok(new) => {
                    self.now.store(Arc::new(new));
                    tracing::info!(file = %self.files.certificate.display(), "new TLS certificate");
                }
                Err(error) => tracing::error!("{error}; the old certificate stays"),
            }
        }
    }

    fn fault(&self, reason: &dyn std::fmt::Display) -> Error {
        fault(&self.files.certificate, reason)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn fault(file: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Tls { file: file.to_owned(), reason: reason.to_string() }
}

fn load(files: &TlsFiles) -> Result<CertifiedKey, Error> {
    let TlsFiles { certificate, key } = files;
    // What the reader says of a file that is not there does not name the cause.
    for file in [certificate, key] {
        std::fs::metadata(file).map_err(|error| fault(file, &error))?;
    }
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(certificate, &error))?;
    if chain.is_empty() {
        return Err(fault(certificate, &"there is no certificate in it (PEM: BEGIN CERTIFICATE)"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, &error))?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            fault(key, &format!("it is not the key of {}", certificate.display()))
        }
        error @ rustls::Error::InvalidCertificate(_) => fault(certificate, &error),
        error => fault(key, &error),
    })
}

/// What tells that a file is another one.
fn stamps(files: &TlsFiles) -> [Option<(SystemTime, u64)>; 2] {
    [&files.certificate, &files.key].map(|file| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}
