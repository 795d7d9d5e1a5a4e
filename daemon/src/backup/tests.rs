use std::path::Path;

use hone_api::UnixMillis;

use super::*;
use crate::testing::Rig;

/// A data directory in which an adapter serves.
async fn serving() -> (Rig, hone_api::AdapterId) {
    let rig = Rig::new().await;
    let id = rig.adapter(1).await;
    rig.services.registry.promote(Some(id), None, UnixMillis::now()).unwrap();
    fs_err::create_dir(rig.services.dirs.snapshots().join(".unfinished-half")).unwrap();
    (rig, id)
}

#[test]
fn only_what_belongs_into_a_data_directory_is_unpacked() {
    for good in ["hone.db", "live.json", "adapters/ad-1/manifest.json", "snapshots/0f/rows.jsonl"] {
        assert!(is_ours(good), "{good}");
    }
    for bad in [
        "",
        "/etc/passwd",
        "../hone.db",
        "adapters/../../x",
        "adapters/ad-1",
        "adapters/ad-1/a/b",
        "adapters/.trash-1/x",
        "adapters//x",
        "hone.lock",
        "hone.db-wal",
        "base/x/y",
    ] {
        assert!(!is_ours(bad), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_beside_a_daemon_is_put_back() {
    let (rig, id) = serving().await;
    let dir = tempfile::tempdir().unwrap();
    for name in ["folder", "archive.tar"] {
        let (to, data) = (dir.path().join(name), dir.path().join(format!("{name}-data")));
        let made = make(rig.services.dirs.root(), &to).unwrap();
        assert_eq!(made.audit.as_ref().unwrap().rows, 1, "{made:?}");
        assert!(make(rig.services.dirs.root(), &to).unwrap_err().to_string().contains("already"));
        let back = restore(&to, &data).await.unwrap();
        assert_eq!(back.files, made.files);
        for file in ["source.key", "live.json"] {
            let there = fs_err::read(data.join(file)).unwrap();
            assert_eq!(there, fs_err::read(rig.services.dirs.root().join(file)).unwrap());
        }
        let weights = Path::new("adapters").join(id.to_string()).join(hone_adapters::WEIGHTS);
        let there = fs_err::read(data.join(&weights)).unwrap();
        assert_eq!(there, fs_err::read(rig.services.dirs.root().join(&weights)).unwrap());
        let trail = hone_store::follow_trail(&data.join("hone.db"), None).unwrap();
        assert_eq!(trail.rows, 2, "that it was restored is told");
        let again = restore(&to, &data).await.unwrap_err().to_string();
        assert!(again.contains("is not empty"), "{again}");
    }
    let left = fs_err::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 4, "nothing half made is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_what_was_written_is_refused() {
    let (rig, id) = serving().await;
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.tar");
    make(rig.services.dirs.root(), &good).unwrap();
    let weights = format!("adapters/{id}/{}", hone_adapters::WEIGHTS);
    type Fault<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let faults: [Fault<'_>; 5] = [
        (
            "is damaged",
            Box::new(|root| {
                let mut bytes = fs_err::read(root.join(&weights)).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs_err::write(root.join(&weights), bytes).unwrap();
            }),
        ),
        ("is missing", Box::new(|root| fs_err::remove_file(root.join("source.key")).unwrap())),
        (
            "was put there later",
            Box::new(|root| {
                fs_err::create_dir(root.join("snapshots/x")).unwrap_or_else(|_| {
                    fs_err::create_dir_all(root.join("snapshots/x")).unwrap();
                });
                fs_err::write(root.join("snapshots/x/rows.jsonl"), "").unwrap();
            }),
        ),
        ("does not belong", Box::new(|root| fs_err::write(root.join("hone.lock"), "").unwrap())),
        ("no manifest.json", Box::new(|root| fs_err::remove_file(root.join(MANIFEST)).unwrap())),
    ];
    for (at, (says, fault)) in faults.iter().enumerate() {
        let (bad, data) =
            (dir.path().join(format!("bad-{at}")), dir.path().join(format!("to-{at}")));
        make(rig.services.dirs.root(), &bad).unwrap();
        fault(&bad);
        let error = format!("{:#}", restore(&bad, &data).await.unwrap_err());
        assert!(error.contains(says), "{error}");
        let left: Vec<_> =
            fs_err::read_dir(&data).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["hone.lock"], "nothing of it stays");
    }
    let bytes = fs_err::read(&good).unwrap();
    let (cut, flipped) = (dir.path().join("cut.tar"), dir.path().join("flipped.tar"));
    fs_err::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    restore(&cut, &dir.path().join("to-cut")).await.unwrap_err();
    let mut changed = bytes;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs_err::write(&flipped, changed).unwrap();
    restore(&flipped, &dir.path().join("to-flipped")).await.unwrap_err();
    // A directory that a daemon has.
    let held = crate::lock::DataLock::take(&dir.path().join("held")).unwrap();
    let error = restore(&good, &dir.path().join("held")).await.unwrap_err().to_string();
    assert!(error.contains("another daemon"), "{error}");
    drop(held);
}
