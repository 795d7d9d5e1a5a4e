//! Downloads from a hub on loopback: whole, interrupted, refused, and with something wrong in them.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;

use hone_hub::{Error, Hub, HubSettings, HubSnapshot, Name};
use hone_tests::hub::{self, COMMIT, sha256};

const REPO: &str = "Some/Tiny-1";

/// Ten thousand bytes that do not repeat.
fn weights() -> Vec<u8> {
    (0..10_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

struct World {
    server: hub::Hub,
    cache: tempfile::TempDir,
}

impl World {
    /// A hub with a model in one file.
    fn new() -> Self {
        let server = hub::Hub::start(REPO).unwrap();
        for name in [
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "README.md",
            "pytorch_model.bin",
        ] {
            server.small(name, name.as_bytes());
        }
        server.large("model.safetensors", &weights());
        Self { server, cache: tempfile::tempdir().unwrap() }
    }

    fn hub(&self, token: Option<&str>, offline: bool) -> Hub {
        Hub::new(HubSettings {
            cache: self.cache.path().to_owned(),
            endpoint: self.server.endpoint(),
            token: token.map(str::to_owned),
            offline,
        })
    }

    fn pull(&self, name: &str) -> Result<HubSnapshot, Error> {
        self.hub(None, false).pull(&Name::parse(name).unwrap(), &mut |_, _| {})
    }

    fn blob(&self, etag: &str) -> std::path::PathBuf {
        self.cache.path().join("models--Some--Tiny-1/blobs").join(etag)
    }
}

#[test]
fn a_model_lies_where_transformers_looks_and_is_pulled_once() {
    let world = World::new();
    let name = Name::parse(REPO).unwrap();
    let hub = world.hub(Some("hf_secret"), false);
    assert_eq!(hub.cached(&name), None);
    let mut told = Vec::new();
    let snapshot = hub.pull(&name, &mut |done, total| told.push((done, total))).unwrap();
    let folder = world.cache.path().join("models--Some--Tiny-1");
    assert_eq!(
        snapshot,
        HubSnapshot { commit: COMMIT.into(), path: folder.join("snapshots").join(COMMIT) }
    );
    assert_eq!(fs_err::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs_err::read(snapshot.path.join("model.safetensors")).unwrap(), weights());
    let link = fs_err::read_link(snapshot.path.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(sha256(&weights())));
    assert!(
        !snapshot.path.join("pytorch_model.bin").exists()
            && !snapshot.path.join("README.md").exists()
    );
    let (done, total) = *told.last().unwrap();
    assert!(done == total && told.is_sorted(), "{told:?}");
    let asked = world.server.asked();
    // The token is the hub's; the store is another host.
    let carries =
        |store| move |asked: &&hub::Asked| asked.store == store && asked.authorization.is_some();
    assert_eq!(asked.iter().filter(carries(true)).count(), 0);
    assert_eq!(
        asked.iter().filter(carries(false)).count(),
        asked.iter().filter(|one| !one.store).count()
    );

    assert_eq!(hub.cached(&name), Some(snapshot.clone()));
    assert!(world.server.asked().is_empty(), "nothing is asked for what is there");
    assert_eq!(hub.pull(&name, &mut |_, _| {}).unwrap(), snapshot);
    assert_eq!(world.server.asked().len(), 1, "only what the revision is");
    assert_eq!(world.pull(&format!("{REPO}@{COMMIT}")).unwrap(), snapshot);
}

#[test]
fn what_was_cut_off_goes_on_where_it_ended() {
    let world = World::new();
    world.server.cut(15_000, 2);
    let snapshot = world.pull(REPO).unwrap();
    assert_eq!(fs_err::read(snapshot.path.join("model.safetensors")).unwrap(), weights());
    let ranges: Vec<_> =
        world.server.asked().into_iter().filter(|a| a.store).map(|a| a.range).collect();
    assert_eq!(ranges, [None, Some("bytes=15000-".to_owned()), Some("bytes=30000-".to_owned())]);

    // Another process's half is gone on with, too.
    let world = World::new();
    let etag = sha256(&weights());
    let half = world.blob(&format!("{etag}.incomplete"));
    fs_err::create_dir_all(half.parent().unwrap()).unwrap();
    fs_err::write(&half, &weights()[..20_000]).unwrap();
    world.pull(REPO).unwrap();
    assert!(world.server.asked().iter().any(|a| a.range.as_deref() == Some("bytes=20000-")));
    assert!(!half.exists() && world.blob(&etag).is_file());

    // Nothing comes any more: what is there stays for the next time.
    let world = World::new();
    world.server.cut(0, usize::MAX);
    fs_err::create_dir_all(world.blob("x").parent().unwrap()).unwrap();
    let error = world.pull(REPO).unwrap_err();
    assert!(
        matches!(error, Error::CutOff { .. }) && error.to_string().contains("goes on from there"),
        "{error}"
    );
}

#[test]
fn what_is_not_what_was_announced_is_thrown_away() {
    let world = World::new();
    let mut wrong = weights();
    wrong[30_000] ^= 1;
    world.server.large_as("model.safetensors", &sha256(&weights()), &wrong);
    let error = world.pull(REPO).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("SHA-256"), "{error}");
    let left: Vec<_> =
        fs_err::read_dir(world.blob("x").parent().unwrap()).unwrap().flatten().collect();
    assert!(
        left.iter()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with(&sha256(&weights())))
    );
    assert_eq!(world.hub(None, false).cached(&Name::parse(REPO).unwrap()), None);
    world.server.large("model.safetensors", &weights());
    world.pull(REPO).unwrap();
}

#[test]
fn refusals_say_what_to_do() {
    let world = World::new();
    for (status, code, token, word) in [
        (401, "GatedRepo", None, "accept its terms"),
        (403, "", Some("t"), "accept its terms"),
        (401, "RepoNotFound", None, "HF_TOKEN"),
        (401, "", Some("t"), "refuses the token"),
        (404, "RevisionNotFound", None, "no revision `main`"),
        (503, "", None, "try again later"),
    ] {
        world.server.refuse(status, code);
        let pulled = world.hub(token, false).pull(&Name::parse(REPO).unwrap(), &mut |_, _| {});
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(word), "{status} {code}: {error}");
    }
}

#[test]
fn without_a_network_the_cache_still_serves() {
    let world = World::new();
    let name = Name::parse(REPO).unwrap();
    let offline = world.hub(None, true);
    let error = offline.pull(&name, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE is set") && error.contains(REPO), "{error}");
    assert!(world.server.asked().is_empty());
    let gone = Hub::new(HubSettings {
        cache: world.cache.path().to_owned(),
        endpoint: "http://127.0.0.1:9".into(),
        token: None,
        offline: false,
    });
    let error = gone.pull(&name, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:9 cannot be reached"), "{error}");
    let snapshot = world.pull(REPO).unwrap();
    assert_eq!(gone.cached(&name), Some(snapshot.clone()));
    fs_err::remove_file(world.blob(&sha256(&weights()))).unwrap();
    assert_eq!(gone.cached(&name), None, "a link to nothing is no file");
}

#[test]
fn shards_and_gguf_files_come_by_their_names() {
    let world = World::new();
    world.server.large("tiny.Q4_K_M.gguf", b"gguf");
    let gguf = world.pull("Some/Tiny-1:q4_k_m").unwrap();
    assert!(gguf.path.ends_with("tiny.Q4_K_M.gguf"));
    assert!(!world.blob(&sha256(&weights())).exists(), "nothing but the file");

    let sharded = hub::Hub::start("a/b").unwrap();
    for name in ["config.json", "tokenizer.json"] {
        sharded.small(name, name.as_bytes());
    }
    let index =
        br#"{"weight_map":{"x":"m-1.safetensors","y":"m-2.safetensors","z":"m-1.safetensors"}}"#;
    sharded.small("model.safetensors.index.json", index);
    for shard in ["m-1.safetensors", "m-2.safetensors", "m-3.safetensors"] {
        sharded.large(shard, shard.as_bytes());
    }
    let settings = HubSettings {
        cache: world.cache.path().to_owned(),
        endpoint: sharded.endpoint(),
        token: None,
        offline: false,
    };
    let folder =
        Hub::new(settings).pull(&Name::parse("a/b").unwrap(), &mut |_, _| {}).unwrap().path;
    assert!(folder.join("m-1.safetensors").is_file() && folder.join("m-2.safetensors").is_file());
    assert!(!folder.join("m-3.safetensors").exists());
}
