//! Keys: kept, listed, revoked, and never so that nobody could make another.

use hone_api::UnixMillis;
use hone_api::key::{KeyLimits, KeyView, Scope};
use hone_store::{Error, StoredKey};

use crate::fixture::{entry, open};

fn key(id: &str, scope: Scope) -> StoredKey {
    let view = KeyView {
        id: id.to_owned(),
        object: "key".to_owned(),
        name: format!("key {id}"),
        scopes: [scope].into(),
        limits: KeyLimits { requests_per_minute: Some(3), ..KeyLimits::default() },
        created_at: UnixMillis(5),
        expires_at: None,
        revoked_at: None,
    };
    StoredKey { view, secret_hash: [7; 32] }
}

#[tokio::test]
async fn keys_survive_a_restart_and_leave_a_trail() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (admin, app) = (key("a", Scope::Admin), key("b", Scope::Chat));
    for one in [&admin, &app] {
        store.insert_key(one.clone(), entry("key.created", &one.view.id)).await.unwrap();
    }
    let twice = store.insert_key(app.clone(), entry("key.created", "b")).await;
    assert!(matches!(twice, Err(Error::Duplicate(id)) if id == "b"));
    let revoked = store.revoke_key("b", UnixMillis(9), entry("key.revoked", "b")).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(UnixMillis(9)));
    store.close().await;

    let store = open(folder.path());
    let again = store.revoke_key("b", UnixMillis(99), entry("key.revoked", "b")).await.unwrap();
    assert_eq!(again, revoked, "it was revoked before");
    let kept = store.keys().await.unwrap();
    assert_eq!((&kept[0], &kept[1].view), (&admin, &revoked));
    let trail: Vec<_> = store.audit(9).await.unwrap().into_iter().map(|row| row.action).collect();
    assert_eq!(trail, ["key.revoked", "key.created", "key.created"], "one row for each change");
    let unknown = store.revoke_key("c", UnixMillis(9), entry("key.revoked", "c")).await;
    assert!(matches!(unknown, Err(Error::UnknownKey(id)) if id == "c"));
}

#[tokio::test]
async fn somebody_can_always_make_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let insert = |key: StoredKey| {
        let entry = entry("key.created", &key.view.id);
        store.insert_key(key, entry)
    };
    let revoke =
        |id: &'static str, at: i64| store.revoke_key(id, UnixMillis(at), entry("key.revoked", id));
    assert!(matches!(insert(key("b", Scope::Chat)).await, Err(Error::FirstKey)));
    insert(key("a", Scope::Admin)).await.unwrap();
    insert(key("b", Scope::Chat)).await.unwrap();
    assert!(matches!(revoke("a", 9).await, Err(Error::LastAdminKey)));
    let mut short = key("s", Scope::Admin);
    short.view.expires_at = Some(UnixMillis(20));
    insert(short).await.unwrap();
    assert!(matches!(revoke("a", 20).await, Err(Error::LastAdminKey)), "the other one has ended");
    revoke("a", 19).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_keys_time_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut app = key("b", Scope::Chat);
    app.view.expires_at = Some(UnixMillis(10));
    for one in [key("a", Scope::Admin), app] {
        store.insert_key(one.clone(), entry("key.created", &one.view.id)).await.unwrap();
    }
    for (now, rows) in [(9, 2), (10, 3), (11, 3)] {
        store.note_expired_keys(UnixMillis(now)).await.unwrap();
        assert_eq!(store.audit(9).await.unwrap().len(), rows);
    }
    let told = store.audit(1).await.unwrap().remove(0);
    assert_eq!((&*told.action, &*told.subject, &*told.actor), ("key.expired", "b", "daemon"));
}
