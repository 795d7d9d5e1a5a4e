use super::*;
use crate::services::Services;
use crate::testing::Rig;

#[test]
fn only_an_order_without_an_end_is_untold() {
    let data = json!({ "epoch": 7, "rollback": true });
    let at = |epoch, actions: &[&str]| {
        untold(actions.iter().rev().map(|action| (*action, &data)), epoch)
    };
    let open = |actions: &[&str]| at(7, actions);
    assert_eq!(open(&[]), None);
    assert_eq!(open(&["cycle.started"]), None);
    assert_eq!(open(&[INTENDED, "adapter.promoted"]), None);
    assert_eq!(open(&[INTENDED, ABANDONED, "cycle.failed"]), None);
    let expected = Some(Open { epoch: 7, rollback: true });
    assert_eq!(open(&[INTENDED]), expected);
    assert_eq!(open(&["adapter.promoted", INTENDED, "adapter.imported"]), expected);
    assert_eq!(
        at(8, &["adapter.promoted", "cycle.failed"]),
        expected,
        "the store refused its rows"
    );
    assert_eq!(at(8, &[INTENDED, ABANDONED]), expected);
    assert_eq!(at(8, &["cycle.failed"]), None);
}

async fn actions(services: &Services) -> Vec<String> {
    let rows = services.store.audit(100).await.unwrap();
    let actions = rows.into_iter().rev().map(|row| row.action);
    actions.filter(|action| action != "adapter.imported").collect()
}

fn request(change: Change, expected_live: Option<Option<AdapterId>>) -> PromotionRequest {
    PromotionRequest { change, expected_live, actor: "operator".into(), reason: "a test".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn promotion_and_going_back_take_the_engine_along() {
    let rig = Rig::new().await;
    let (first, second) = (rig.adapter(1).await, rig.adapter(2).await);
    let promoter = &rig.services.promoter;

    promoter.execute(request(Change::Promote(Some(first)), Some(None))).await.unwrap();
    assert_eq!(rig.services.engine.live(), Some(first));
    promoter.execute(request(Change::Promote(Some(second)), Some(Some(first)))).await.unwrap();
    let back = promoter.execute(request(Change::RollBack(None), None)).await.unwrap();
    assert_eq!((back.live, back.previous, back.epoch), (Some(first), Some(second), 3));
    assert_eq!(rig.services.engine.live(), Some(first));
    assert!(rig.services.engine.is_loaded(second), "going back once more reads nothing from disk");
    let expected = [
        INTENDED,
        "adapter.promoted",
        INTENDED,
        "adapter.promoted",
        INTENDED,
        "adapter.rolled_back",
    ];
    assert_eq!(actions(&rig.services).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_compares_with_the_past_changes_nothing() {
    let rig = Rig::new().await;
    let first = rig.adapter(1).await;
    let stale = request(Change::Promote(Some(first)), Some(Some(AdapterId::new())));
    let error = rig.services.promoter.execute(stale).await.unwrap_err();
    assert!(matches!(error, Error::Registry(hone_adapters::Error::Conflict { .. })), "{error}");
    assert_eq!((rig.services.engine.live(), rig.services.registry.live().epoch), (None, 0));
    assert_eq!(actions(&rig.services).await, [""; 0]);
    let unknown = request(Change::Promote(Some(AdapterId::new())), None);
    let error = rig.services.promoter.execute(unknown).await.unwrap_err();
    assert!(matches!(error, Error::Registry(hone_adapters::Error::Unknown(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_already_leaves_no_trace() {
    let rig = Rig::new().await;
    let promoter = &rig.services.promoter;
    promoter.execute(request(Change::Promote(None), Some(None))).await.unwrap();
    promoter.execute(request(Change::RollBack(Some(None)), None)).await.unwrap();
    assert_eq!(actions(&rig.services).await, [""; 0]);
    let first = rig.adapter(1).await;
    promoter.execute(request(Change::Promote(Some(first)), None)).await.unwrap();
    promoter.execute(request(Change::Promote(Some(first)), None)).await.unwrap();
    assert_eq!(actions(&rig.services).await, [INTENDED, "adapter.promoted"]);
    // who expects something else is told
    let stale = request(Change::Promote(Some(first)), Some(None));
    promoter.execute(stale).await.unwrap_err();
}

/// Has the store's database refuse or take audit rows, as another program would.
fn audit_rows_are(services: &Services, refused: bool) {
    let path = services.settings.now().server.data_dir.join("hone.db");
    let sql = match refused {
        true => {
            "CREATE TRIGGER full BEFORE INSERT ON audit
             BEGIN SELECT RAISE(ABORT, 'as a full disk would'); END"
        }
        false => "DROP TRIGGER full",
    };
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_waits_for_no_database_and_is_written_down_later() {
    let rig = Rig::new().await;
    let (first, second) = (rig.adapter(1).await, rig.adapter(2).await);
    let services = &rig.services;
    services.promoter.execute(request(Change::Promote(Some(first)), None)).await.unwrap();
    audit_rows_are(services, true);
    services.promoter.execute(request(Change::Promote(Some(second)), None)).await.unwrap_err();
    assert_eq!(services.engine.live(), Some(first), "what may wait is refused");
    let back = services.promoter.execute(request(Change::RollBack(None), None)).await.unwrap();
    assert_eq!((back.live, services.engine.live()), (None, None));
    assert_eq!(actions(services).await, [INTENDED, "adapter.promoted"]);

    let stop = tokio_util::sync::CancellationToken::new();
    let settled = tokio_util::task::TaskTracker::new();
    settled.spawn(services.journal.clone().settle(stop.clone()));
    audit_rows_are(services, false);
    services.promoter.execute(request(Change::Promote(Some(second)), None)).await.unwrap();
    stop.cancel();
    settled.close();
    settled.wait().await;
    let told = [INTENDED, "adapter.promoted", INTENDED, "adapter.rolled_back"];
    assert_eq!(actions(services).await, [&told[..], &told[..2]].concat(), "in their order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_the_database_never_heard_of_is_told_at_the_next_start() {
    let rig = Rig::new().await;
    let first = rig.adapter(1).await;
    let services = &rig.services;
    services.promoter.execute(request(Change::Promote(Some(first)), None)).await.unwrap();
    services.registry.rollback(None, None, UnixMillis::now(), &|_| true).unwrap();
    services.promoter.recover(&services.store).await.unwrap();
    assert_eq!(actions(services).await, [INTENDED, "adapter.promoted", "adapter.rolled_back"]);
    services.promoter.recover(&services.store).await.unwrap();
    assert_eq!(actions(services).await.len(), 3, "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_needs_no_files_of_what_is_in_memory() {
    let rig = Rig::new().await;
    let (first, second) = (rig.adapter(1).await, rig.adapter(2).await);
    let services = &rig.services;
    for id in [first, second] {
        services.promoter.execute(request(Change::Promote(Some(id)), None)).await.unwrap();
    }
    fs_err::remove_dir_all(services.registry.dir(first)).unwrap();
    let back = services.promoter.execute(request(Change::RollBack(None), None)).await.unwrap();
    assert_eq!((back.live, services.engine.live()), (Some(first), Some(first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_verified_is_loaded() {
    let rig = Rig::new().await;
    let id = rig.adapter(1).await;
    let path = rig.services.registry.dir(id).join(hone_adapters::CONFIG);
    let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    config["lora_alpha"] = json!(1);
    fs_err::write(&path, config.to_string()).unwrap();
    rig.services.engine.unload(id);
    let error = rig.services.promoter.load(id).await.unwrap_err();
    assert!(matches!(error, Error::Registry(hone_adapters::Error::Damaged { .. })), "{error}");
    assert!(!rig.services.engine.is_loaded(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_half_done_is_completed() {
    let rig = Rig::new().await;
    let first = rig.adapter(1).await;
    let services = &rig.services;
    // Killed between the pointer's move and the engine's.
    let half = request(Change::Promote(Some(first)), None);
    services.promoter.note(INTENDED, &half, Some(first), 0).await.unwrap();
    services.registry.promote(Some(first), None, UnixMillis::now()).unwrap();
    services.promoter.recover(&services.store).await.unwrap();
    assert_eq!(services.engine.live(), Some(first));
    assert_eq!(actions(services).await, [INTENDED, "adapter.promoted"]);
    // Killed before the pointer's move.
    services.promoter.note(INTENDED, &half, None, 1).await.unwrap();
    services.promoter.recover(&services.store).await.unwrap();
    assert_eq!(actions(services).await, [INTENDED, "adapter.promoted", INTENDED, ABANDONED]);
    // And once is enough.
    services.promoter.recover(&services.store).await.unwrap();
    assert_eq!(actions(services).await.len(), 4);
}
