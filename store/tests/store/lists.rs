//! Filters and pages of the log.

use std::collections::BTreeMap;

use hone_api::feedback::Signal;
use hone_api::interaction::{Endpoint, Interaction};
use hone_api::{AdapterId, InteractionId, UnixMillis};
use hone_store::{InteractionFilter, Order, Store};

use crate::fixture::{feedback, interaction, open};

/// Ten interactions: the odd ones from the adapter, every third stored, two of
/// `/v1/completions`, the first with feedback.
async fn log(store: &Store, adapter: AdapterId) -> Vec<InteractionId> {
    let mut ids = Vec::new();
    for number in 0..10_i64 {
        let record = Interaction {
            created_at: UnixMillis(number * 100),
            model: if number < 5 { "hone" } else { "other" }.to_owned(),
            adapter_id: (number % 2 == 1).then_some(adapter),
            stored: number % 3 == 0,
            endpoint: if number % 6 == 2 { Endpoint::Completion } else { Endpoint::Chat },
            metadata: BTreeMap::from([
                ("parity".to_owned(), (number % 2).to_string()),
                ("$.a\"[0]".to_owned(), "odd name".to_owned()),
            ]),
            ..interaction()
        };
        ids.push(record.id);
        store.append_interaction(record).await.unwrap();
    }
    store.append_feedback(feedback(ids[0], Signal::Thumbs(true))).await.unwrap();
    ids
}

#[tokio::test]
async fn each_filter_keeps_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let adapter = AdapterId::new();
    let ids = log(&store, adapter).await;
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let all = InteractionFilter { limit: 100, ..InteractionFilter::default() };
    let cases: Vec<(InteractionFilter, Vec<usize>)> = vec![
        (all.clone(), (0..10).collect()),
        (InteractionFilter { model: Some("other".into()), ..all.clone() }, (5..10).collect()),
        (InteractionFilter { adapter: Some(Some(adapter)), ..all.clone() }, vec![1, 3, 5, 7, 9]),
        (InteractionFilter { adapter: Some(None), ..all.clone() }, vec![0, 2, 4, 6, 8]),
        (InteractionFilter { stored: Some(true), ..all.clone() }, vec![0, 3, 6, 9]),
        (InteractionFilter { stored: Some(false), ..all.clone() }, vec![1, 2, 4, 5, 7, 8]),
        (InteractionFilter { endpoint: Some(Endpoint::Completion), ..all.clone() }, vec![2, 8]),
        (InteractionFilter { key_id: Some("key-1".into()), ..all.clone() }, (0..10).collect()),
        (InteractionFilter { key_id: Some("key-2".into()), ..all.clone() }, vec![]),
        (InteractionFilter { user: Some("u".into()), ..all.clone() }, (0..10).collect()),
        (InteractionFilter { user: Some("v".into()), ..all.clone() }, vec![]),
        (InteractionFilter { conversation: Some("c".into()), ..all.clone() }, (0..10).collect()),
        (InteractionFilter { conversation: Some("d".into()), ..all.clone() }, vec![]),
        (InteractionFilter { has_feedback: Some(true), ..all.clone() }, vec![0]),
        (InteractionFilter { has_feedback: Some(false), ..all.clone() }, (1..10).collect()),
        (
            InteractionFilter {
                since: Some(UnixMillis(300)),
                until: Some(UnixMillis(600)),
                ..all.clone()
            },
            vec![3, 4, 5],
        ),
        (
            InteractionFilter {
                metadata: pairs(&[("parity", "1"), ("$.a\"[0]", "odd name")]),
                ..all.clone()
            },
            vec![1, 3, 5, 7, 9],
        ),
        (InteractionFilter { metadata: pairs(&[("parity", "2")]), ..all.clone() }, vec![]),
        (InteractionFilter { metadata: pairs(&[("nothing", "1")]), ..all.clone() }, vec![]),
        (
            InteractionFilter {
                model: Some("hone".into()),
                stored: Some(true),
                endpoint: Some(Endpoint::Chat),
                order: Order::Descending,
                ..all
            },
            vec![3, 0],
        ),
    ];
    for (filter, expected) in cases {
        let page = store.interactions(filter.clone()).await.unwrap();
        let found: Vec<_> = page.items.iter().map(|it| it.id).collect();
        let expected: Vec<_> = expected.into_iter().map(|it| ids[it]).collect();
        assert_eq!(found, expected, "{filter:?}");
        assert!(!page.has_more, "{filter:?}");
    }
}

#[tokio::test]
async fn pages_put_together_are_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut ids = log(&store, AdapterId::new()).await;
    for order in [Order::Ascending, Order::Descending] {
        for limit in [1, 3, 5, 10, 11] {
            let mut filter = InteractionFilter { order, limit, ..InteractionFilter::default() };
            let mut found = Vec::new();
            loop {
                let page = store.interactions(filter.clone()).await.unwrap();
                assert!(page.items.len() <= limit);
                found.extend(page.items.iter().map(|it| it.id));
                filter.after = found.last().copied();
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(found, ids);
        }
        ids.reverse();
    }
}
