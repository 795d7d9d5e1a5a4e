//! What a person's erasure takes from the log, and what it leaves.

use std::collections::BTreeSet;

use hone_api::UnixMillis;
use hone_api::erasure::{ErasureView, Removed, Subject};
use hone_api::feedback::Signal;
use hone_store::{Erasure, InteractionFilter};

use crate::fixture::{entry, feedback, interaction, open};

#[tokio::test]
async fn a_user_goes_with_what_she_asked_and_said_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (mut of_ann, of_bob) = (interaction(), interaction());
    of_ann.user = Some("ann".to_owned());
    for it in [&of_ann, &of_bob] {
        store.append_interaction(it.clone()).await.unwrap();
    }
    // Bob says something of Ann's answer, and she of his; his own vote stays.
    let by = |user: &str, mut new: hone_store::NewFeedback| {
        new.user = Some(user.to_owned());
        new
    };
    let said = [
        by("bob", feedback(of_ann.id, Signal::Thumbs(false))),
        by("ann", feedback(of_bob.id, Signal::Demonstration("her words".to_owned()))),
        by("bob", feedback(of_bob.id, Signal::Thumbs(true))),
    ];
    for new in said {
        store.append_feedback(new).await.unwrap();
    }

    let subject = Subject::User("ann".to_owned());
    let traces = store.traces(subject.clone()).await.unwrap();
    let touched = BTreeSet::from([of_ann.id, of_bob.id]);
    assert_eq!((traces.interactions, traces.feedback, &traces.touched), (1, 2, &touched));
    let wanted = Erasure::of(subject.clone(), UnixMillis(7));
    let begun = store.begin_erasure(wanted.clone()).await.unwrap().unwrap();
    assert_eq!((begun.interactions, begun.feedback, &begun.touched), (1, 2, &touched));

    let left = store.interactions(InteractionFilter::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|it| it.id).collect::<Vec<_>>(), [of_bob.id]);
    let votes = store.feedback_for(of_bob.id).await.unwrap();
    assert_eq!(votes.iter().map(|it| &it.signal).collect::<Vec<_>>(), [&Signal::Thumbs(true)]);
    assert_eq!(
        store.begin_erasure(Erasure::of(subject.clone(), UnixMillis(8))).await.unwrap(),
        None
    );

    // Unfinished until the receipt is there, also after a restart.
    store.close().await;
    let store = open(folder.path());
    assert_eq!(store.erasures().await.unwrap(), std::slice::from_ref(&begun));
    let receipt = ErasureView {
        id: begun.id,
        object: "erasure".to_owned(),
        subject,
        at: begun.at,
        removed: Removed { interactions: 1, feedback: 2, ..Removed::default() },
        snapshots: Vec::new(),
        adapters: Vec::new(),
        next: String::new(),
    };
    store.finish_erasure(receipt.clone(), entry("subject.erased", "ann")).await.unwrap();
    assert_eq!(store.erasures().await.unwrap()[0].receipt, Some(receipt));
}
