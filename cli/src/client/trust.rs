//! Whose certificates a client believes.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder};

use super::ClientError;

/// Lets a client of `url` believe the authorities in the file `authorities`, and them alone; without one those of this machine. Where
/// there is no TLS nobody is believed: then this machine needs no list of authorities, which small images do not have.
///
/// # Errors
/// The file is not there, or has no certificates in it.
pub(super) fn believe(
    http: ClientBuilder,
    url: &str,
    authorities: Option<&Path>,
) -> Result<ClientBuilder, ClientError> {
    let Some(file) = authorities else {
        return Ok(if url.starts_with("https:") { http } else { http.tls_certs_only([]) });
    };
    let fault = |reason: String| ClientError::Authority { file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|error| fault(error.to_string()))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| fault(super::innermost(&error)))?;
    if certificates.is_empty() {
        return Err(fault("there is no certificate in it (PEM: BEGIN CERTIFICATE)".to_owned()));
    }
    Ok(http.tls_certs_only(certificates))
}

/// What TLS says against a connection, if it is that which failed.
pub(super) fn refusal(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        // What an I/O error wraps is not among its sources.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map_or_else(|| error.source(), |inner| Some(inner));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Client;

    #[test]
    fn a_file_of_authorities_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let said = |url: &str| Client::new(url, None, Some(&file)).unwrap_err().to_string();
        assert!(said("https://hone.lan").contains("ca.pem"), "it is not there");
        fs_err::write(&file, "no certificate").unwrap();
        assert!(said("http://hone.lan").contains("BEGIN CERTIFICATE"), "{}", said("http://h"));
    }

    #[test]
    fn the_machine_need_have_no_authorities_where_there_is_no_tls() {
        assert!(Client::new("http://127.0.0.1:1", None, None).is_ok());
    }
}
