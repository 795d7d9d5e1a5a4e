//! `kill -9` at random moments of imports, promotions, rollbacks and deletions.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::import::Import;
use crate::testing::{tiny_base, write_random_adapter};
use hone_api::adapter::Provenance;

/// The variable that makes this test binary the process to be killed.
const VICTIM: &str = "HONE_TEST_KILLED_REGISTRY";

/// The process that gets killed: it changes the registry for ever, and tells after each move of the
/// pointer which epoch is durable. Does nothing when it runs as a test.
#[test]
fn victim() {
    let Some(data_dir) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let registry = Registry::open(&data_dir, tiny_base()).unwrap();
    let source = data_dir.join("drop/source");
    write_random_adapter(&source, &tiny_base(), 2, 1);
    loop {
        let imported = registry.import(Import {
            id: AdapterId::new(),
            source: source.clone(),
            name: None,
            provenance: Provenance::Import { folder: "source".to_owned() },
            now: UnixMillis::now(),
        });
        registry.promote(Some(imported.unwrap().id), None, UnixMillis::now()).unwrap();
        let pointer = registry.rollback(None, None, UnixMillis::now(), &|_| false).unwrap();
        // the one place where a test must print: its parent reads it
        std::io::Write::write_all(
            &mut std::io::stdout(),
            format!("\ndurable {}\n", pointer.epoch).as_bytes(),
        )
        .unwrap();
        registry.gc(1).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut last_epoch = 0;
    for round in 0..12_u64 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "registry::kill::victim", "--nocapture"])
            .env(VICTIM, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        // the first move shows that it is at work; then at another moment in each round
        let epoch_of = |line: String| line.strip_prefix("durable ").and_then(|n| n.parse().ok());
        let mut durable: u64 = lines.by_ref().find_map(epoch_of).unwrap();
        std::thread::sleep(Duration::from_micros(700 * round + 137 * (round % 3)));
        victim.kill().unwrap();
        victim.wait().unwrap();
        durable = lines.filter_map(epoch_of).last().unwrap_or(durable);

        let registry = Registry::open(dir.path(), tiny_base()).unwrap();
        assert_eq!(registry.warnings(), [], "round {round}: a kill is no damage");
        let pointer = registry.live();
        assert!(pointer.epoch >= durable && durable > last_epoch, "{pointer:?} {durable}");
        last_epoch = pointer.epoch;
        for id in [pointer.live, pointer.previous].into_iter().flatten() {
            registry.with_verified(id, |_| Ok::<_, Error>(())).unwrap();
        }
        for adapter in registry.list() {
            let serves = pointer.live == Some(adapter.id);
            assert_eq!(adapter.state == AdapterState::Live, serves, "{adapter:?}");
        }
        let hidden = fs_err::read_dir(dir.path().join("adapters")).unwrap();
        let hidden = hidden
            .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with('.')));
        assert_eq!(hidden.count(), 0, "round {round}: remains of the killed process");
    }
}
