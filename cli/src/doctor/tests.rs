use super::*;
use hone_daemon::testing::Rig;

fn found(data_dir: &Path) -> Vec<Finding> {
    let mut report = DoctorReport::default();
    look_at_data(&mut report, data_dir, false);
    report.findings
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_fault_is_found_and_has_a_remedy() {
    use std::os::unix::fs::PermissionsExt;

    let rig = Rig::new().await;
    let id = rig.adapter(1).await;
    rig.services.registry.promote(Some(id), None, hone_api::UnixMillis::now()).unwrap();
    let data = rig.services.dirs.root();
    for name in ["", "hone.db", "hone.db-wal", "hone.db-shm", "live.json", "audit.head"] {
        // Tests run with another umask than the daemon.
        let bits = if name.is_empty() { 0o700 } else { 0o600 };
        fs_err::set_permissions(data.join(name), PermissionsExt::from_mode(bits)).unwrap();
    }
    let well = found(data);
    assert!(well.iter().all(|finding| finding.state == State::Ok), "{well:?}");

    let weights = data.join("adapters").join(id.to_string()).join(hone_adapters::WEIGHTS);
    let files = ["source.key", "live.json", "audit.head"].map(|name| data.join(name));
    let before: Vec<_> =
        files.iter().chain([&weights]).map(|file| fs_err::read(file).unwrap()).collect();
    fs_err::write(&files[0], "short").unwrap();
    fs_err::write(&files[1], "{}").unwrap();
    fs_err::write(&files[2], format!("9 {}", "0".repeat(64))).unwrap();
    let mut broken = before[3].clone();
    *broken.last_mut().unwrap() ^= 1;
    fs_err::write(&weights, broken).unwrap();
    fs_err::create_dir_all(data.join("snapshots/00ff")).unwrap();
    fs_err::create_dir_all(data.join(".restore-x")).unwrap();
    fs_err::create_dir_all(data.join("adapters/.unfinished-x")).unwrap();
    fs_err::set_permissions(data.join("hone.db"), PermissionsExt::from_mode(0o644)).unwrap();
    let ill = found(data);
    for check in [
        "source key",
        "live.json",
        "audit trail",
        "adapters",
        "snapshots",
        "leftovers",
        "permissions",
    ] {
        let wrong = ill.iter().find(|it| it.check == check && it.state == State::Wrong);
        assert!(wrong.is_some_and(|it| it.remedy.is_some()), "{check} in {ill:?}");
    }
    assert!(
        ill.iter().any(|it| it.state == State::Note && it.found.contains(".unfinished-x")),
        "{ill:?}"
    );
}
