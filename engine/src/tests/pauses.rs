//! Memory runs out: streams pause, and no answer changes by that.

use hone_model::KvCache;

use super::*;

/// So many blocks of cache, half of them for prefixes if they are `kept`.
fn small(blocks: usize, kept: bool) -> EngineConfig {
    let block = KvCache::bytes_for(tiny().config(), 1);
    let prefix_cache_bytes = if kept { block * blocks / 2 } else { 0 };
    EngineConfig { kv_bytes: block * blocks, prefix_cache_bytes, ..shipped() }
}

/// Long requests of several callers, with all that has state from token to token; one of them is an evaluation.
fn requests(adapter: AdapterId) -> Vec<Request> {
    let sampling: [fn(&mut SamplingParams); 5] = [
        |_| {},
        |sampling| sampling.temperature = 1.0,
        |sampling| {
            sampling.temperature = 0.8;
            sampling.repetition_penalty = 1.2;
            sampling.frequency_penalty = 0.3;
        },
        |sampling| {
            sampling.temperature = 1.0;
            sampling.allowed_token_ids = Some(vec![40, 41, 42]);
        },
        |sampling| sampling.stop = vec!["zzz".to_owned(), "never said".to_owned()],
    ];
    let prompt = |i: usize| "One two three, ".repeat(2 + i * 3) + &i.to_string();
    let mut all: Vec<Request> = (0..10)
        .map(|i| {
            let target = [Target::Base, Target::Exact(adapter)][i % 2];
            let mut request =
                by(i as u64 % 3, on(target, request(&prompt(i), 150 + 10 * i as u32)));
            request.party.user = i as u64 % 2;
            request.sampling.seed = Some(7 + i as u64);
            request.echo_from = (i == 4).then_some(0);
            sampling[i % sampling.len()](&mut request.sampling);
            request
        })
        .collect();
    all[7].priority = Priority::Background;
    all
}

#[test]
fn answers_are_the_same_with_and_without_pauses() {
    let large = start(EngineConfig { prefix_cache_bytes: 0, ..shipped() });
    let expected: Vec<Answer> =
        requests(adapter(&large, 1)).into_iter().map(|it| ask(&large, it)).collect();
    for kept in [false, true] {
        for speculative_tokens in [0, 8] {
            let engine = start(EngineConfig { speculative_tokens, ..small(14, kept) });
            let requests = requests(adapter(&engine, 1));
            let held = engine.hold();
            let all: Vec<Generation> =
                requests.into_iter().map(|it| engine.submit(it).unwrap()).collect();
            drop(held);
            for (index, (one, expected)) in all.into_iter().zip(&expected).enumerate() {
                assert_eq!(collect(one), *expected, "{index}, kept: {kept}");
            }
            let health = engine.health();
            assert!(health.preempted > 2, "{health:?}");
            assert_eq!((health.failed, health.rejected, health.cancelled), (0, 0, 0));
            wait_until("nothing is held", || {
                let health = engine.health();
                (health.kv_bytes, health.running, health.waiting) == (0, 0, 0)
            });
        }
    }
    assert_eq!(large.health().preempted, 0);
}

#[test]
fn a_place_needs_room_for_the_prompt_and_not_for_the_longest_answer() {
    let engine = start(small(14, false));
    let all: Vec<Generation> = (0..5).map(|_| engine.submit(request("Hi", 400)).unwrap()).collect();
    for one in all {
        assert_eq!(collect(one).tokens.len(), 400);
    }
    // Two have room to their ends: if only those had places, none would ever have had to give its one up.
    assert!(engine.health().preempted > 0);
}

#[test]
fn one_that_is_paused_may_be_given_up() {
    let engine = start(small(8, false));
    let old = engine.submit(request("Hi", 400)).unwrap();
    let young = engine.submit(request("Hi", 400)).unwrap();
    wait_until("one is paused", || engine.health().preempted > 0);
    drop(young);
    assert_eq!(collect(old).tokens.len(), 400);
    wait_until("nothing is left", || {
        let health = engine.health();
        (health.running, health.waiting, health.kv_bytes) == (0, 0, 0)
    });
    let health = engine.health();
    assert_eq!((health.cancelled, health.failed, health.finished_length), (1, 0, 1));
}

#[test]
fn a_stop_fails_those_that_are_paused() {
    let engine = start(small(8, false));
    let all: Vec<Generation> = (0..2).map(|_| engine.submit(request("Hi", 400)).unwrap()).collect();
    wait_until("one is paused", || engine.health().preempted > 0);
    let failed = engine.shutdown(Duration::ZERO);
    assert!((1..=2).contains(&failed), "{failed}");
    let failures = all.into_iter().filter_map(|one| collect(one).failure);
    assert!(failures.into_iter().all(|failure| failure.contains("shutting down")));
}
