//! TLS: what is served, what is refused at the start, and new certificates while it serves.

use std::path::Path;

use hone_server::Options;
use hone_server::tls::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::setup::options;
use crate::world::{World, eventually};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn files(folder: &TempDir) -> TlsFiles {
    TlsFiles { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") }
}

/// What an authority gives to 127.0.0.1.
fn issue(by: &Authority, files: &TlsFiles) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
}

/// A new connection of who trusts this authority alone.
async fn connects(to: &str, trusting: &Authority) -> bool {
    let authority = reqwest::Certificate::from_pem(trusting.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    client.get(format!("{to}/livez")).send().await.is_ok_and(|answer| answer.status() == 200)
}

#[actix_web::test]
async fn new_certificates_take_the_place_of_old_ones_and_broken_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first, second) = (files(&folder), authority(), authority());
    issue(&first, &files);
    let world = World::new();
    let with_tls = Options { tls: Some(files.clone()), ..options() };
    let server = hone_server::run(world.dependencies.clone(), &with_tls).unwrap();
    let url = server.url();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    assert!(connects(&url, &first).await && !connects(&url, &second).await);
    let plain = url.replace("https", "http");
    assert!(reqwest::get(format!("{plain}/livez")).await.is_err(), "nothing but TLS");

    std::fs::write(&files.certificate, "broken").unwrap();
    // Until it was looked at twice.
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    assert!(connects(&url, &first).await, "the old one stays");
    issue(&second, &files);
    eventually(async || connects(&url, &second).await.then_some(())).await;
    assert!(!connects(&url, &first).await);
    server.stop().await;
}

#[actix_web::test]
async fn files_that_cannot_serve_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (files, authority, world) = (files(&folder), authority(), World::new());
    let refusal = || {
        let with_tls = Options { tls: Some(files.clone()), ..options() };
        hone_server::run(world.dependencies.clone(), &with_tls).err().map(|error| error.to_string())
    };
    let blames = |file: &Path, words: &str| {
        let said = refusal().unwrap_or_else(|| panic!("{words}: it was taken"));
        assert!(said.contains(&file.display().to_string()) && said.contains(words), "{said}");
    };
    blames(&files.certificate, "No such file");
    issue(&authority, &files);
    let key = std::fs::read(&files.key).unwrap();
    std::fs::remove_file(&files.key).unwrap();
    blames(&files.key, "No such file");
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    blames(&files.key, "not the key of");
    std::fs::write(&files.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        .unwrap();
    blames(&files.key, "cannot be used");
    std::fs::write(&files.key, &key).unwrap();
    std::fs::write(&files.certificate, key).unwrap();
    blames(&files.certificate, "no certificate");
    issue(&authority, &files);
    assert_eq!(refusal(), None);
}
