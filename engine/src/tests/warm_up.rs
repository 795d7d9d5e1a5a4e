//! What is asked most often is there for an adapter before it serves.

use hone_model::KvCache;

use super::prefix::{cached_of, long};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A conversation that begins as `system` does.
fn talk(system: &Request, question: u32) -> Request {
    let mut talk = on(Target::Live, system.clone());
    talk.prompt.extend((0..30).map(|i| (i * 17 + question * 71) % 4000 + 3));
    talk
}

fn cached(engine: &Engine, request: Request) -> (Answer, usize) {
    cached_of(engine.submit(request).unwrap())
}

#[test]
fn the_first_request_after_a_promotion_finds_its_beginning() {
    let (engine, plain) = (start(shipped()), start(shipped()));
    let system = long(200, 1);
    for question in 0..3 {
        cached(&engine, by(1, talk(&system, question)));
    }
    let other = by(2, long(150, 2));
    cached(&engine, other.clone());
    let next = adapter(&engine, 1);
    let before = engine.health();
    engine.warm_up(Some(next), PATIENCE);
    let health = engine.health();
    let whole = 200 / KvCache::BLOCK * KvCache::BLOCK;
    assert_eq!(health.warmed_tokens as usize, whole, "what was asked once is not computed");
    assert_eq!(health.prompt_tokens - before.prompt_tokens, health.warmed_tokens);
    assert_eq!((health.finished_length, health.cancelled), (before.finished_length, 0));
    assert_eq!(health.prefix_queries, before.prefix_queries);
    engine.set_live(Some(next), 1).unwrap();

    let same = Target::Exact(adapter(&plain, 1));
    let expected = ask(&plain, on(same, talk(&system, 9)));
    let (answer, found) = cached(&engine, by(1, talk(&system, 9)));
    assert_eq!((answer, found), (expected, whole));
    assert_eq!(cached(&engine, by(2, talk(&system, 9))).1, 0, "another caller's is its own");
    assert_eq!(cached(&engine, on(Target::Live, other)).1, 0);
}

#[test]
fn what_is_there_is_not_computed_again() {
    let engine = start(shipped());
    let system = long(200, 3);
    let [first, second] = [1, 2].map(|seed| adapter(&engine, seed));
    let mut computed = Vec::new();
    for (epoch, id) in (1..).zip([first, second, first, second]) {
        engine.warm_up(Some(id), PATIENCE);
        computed.push(engine.health().warmed_tokens);
        engine.set_live(Some(id), epoch).unwrap();
        (0..2).for_each(|question| {
            cached(&engine, talk(&system, question));
        });
    }
    engine.warm_up(None, PATIENCE);
    computed.push(engine.health().warmed_tokens);
    assert_eq!(computed, [0, 192, 192, 192, 384], "each once, and the base as well");
    // To go where it is asks nothing.
    engine.warm_up(Some(second), PATIENCE);
    engine.warm_up(Some(AdapterId::new()), PATIENCE);
    assert_eq!(engine.health().warmed_tokens, 384);
}

#[test]
fn what_takes_too_long_is_given_up() {
    let engine = start(EngineConfig { max_step_tokens: 1, ..shipped() });
    // More steps than any machine makes in that time.
    let systems: Vec<_> = (4..12).map(|seed| long(400, seed)).collect();
    for (system, question) in systems.iter().flat_map(|system| [(system, 0), (system, 1)]) {
        cached(&engine, talk(system, question));
    }
    let next = adapter(&engine, 1);
    let mut stream = engine.submit(request("Hi", 300)).unwrap();
    first_token(&mut stream);
    engine.warm_up(Some(next), Duration::from_millis(10));
    assert_eq!(collect(stream).tokens.len(), 299);
    wait_until("nothing of it is left", || {
        let health = engine.health();
        (health.running, health.waiting) == (0, 0)
    });
    let health = engine.health();
    assert!(health.warmed_tokens < 8 * 384, "all was computed");
    assert_eq!((health.failed, health.cancelled), (0, 0));
    engine.set_live(Some(next), 1).unwrap();
    assert_eq!(cached(&engine, talk(&systems[0], 5)).0.tokens.len(), 6);
    engine.shutdown(Duration::ZERO);
    engine.warm_up(None, PATIENCE);
}

#[test]
fn without_a_cache_nothing_is_computed() {
    let engine = start(EngineConfig { prefix_cache_bytes: 0, ..shipped() });
    let system = long(200, 1);
    (0..2).for_each(|question| {
        cached(&engine, talk(&system, question));
    });
    let next = adapter(&engine, 1);
    engine.warm_up(Some(next), PATIENCE);
    assert_eq!(engine.health().warmed_tokens, 0);
}
