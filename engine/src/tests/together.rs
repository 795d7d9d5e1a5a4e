//! Prompts that begin alike and arrive together, as callers see it: each block is computed once, and answers stay the same.

use hone_model::KvCache;

use super::prefix::{cached_of, long};
use super::*;

/// Steps are small, so that prompts take several.
fn slow() -> EngineConfig {
    EngineConfig { max_step_tokens: 40, ..shipped() }
}

/// Submits all before the first step begins.
fn at_once(engine: &Engine, requests: &[Request]) -> Vec<Generation> {
    let held = engine.hold();
    let all = requests.iter().map(|it| engine.submit(it.clone()).unwrap()).collect();
    drop(held);
    all
}

#[test]
fn equal_prompts_are_computed_once() {
    let (engine, plain) = (start(slow()), start(shipped()));
    let one = long(300, 1);
    let mut longer = one.clone();
    longer.prompt.extend([7, 8, 9, 10]);
    let mut turns_off = one.clone();
    turns_off.prompt.truncate(200);
    turns_off.prompt.extend([11; 90]);
    let requests = [one.clone(), one.clone(), longer, turns_off, one];
    let expected: Vec<Answer> = requests.iter().map(|it| ask(&plain, it.clone())).collect();
    for (one, expected) in at_once(&engine, &requests).into_iter().zip(&expected) {
        assert_eq!(collect(one), *expected);
    }
    let total: usize = requests.iter().map(|it| it.prompt.len()).sum();
    let computed = engine.health().prompt_tokens as usize;
    // The first whole; of the others what lies behind the last whole block that another one has.
    let most = 300 + 3 * 44 + 48 + (290 - 192);
    assert!(computed <= most, "{computed} of {total}, {most} at most");
}

#[test]
fn what_does_not_belong_together_is_not_shared() {
    let engine = start(slow());
    let other = adapter(&engine, 1);
    let requests =
        [by(1, long(200, 2)), by(2, long(200, 2)), by(1, on(Target::Exact(other), long(200, 2)))];
    at_once(&engine, &requests).into_iter().for_each(|one| {
        collect(one);
    });
    assert_eq!(engine.health().prompt_tokens, 600);
    let off = start(EngineConfig { prefix_cache_bytes: 0, ..slow() });
    at_once(&off, &[long(200, 2), long(200, 2)]).into_iter().for_each(|one| {
        collect(one);
    });
    assert_eq!(off.health().prompt_tokens, 400);
}

#[test]
fn who_waits_goes_on_when_the_first_leaves() {
    let engine = start(EngineConfig { max_step_tokens: 16, ..shipped() });
    let expected = ask(&start(shipped()), long(400, 3));
    for after in [0, 3, 9] {
        engine.forget_prefixes();
        let before = engine.health().steps;
        let held = engine.hold();
        let first = engine.submit(long(400, 3)).unwrap();
        let second = engine.submit(long(400, 3)).unwrap();
        drop(held);
        wait_until("the first is under way", || engine.health().steps >= before + after);
        drop(first);
        let (answer, cached) = cached_of(second);
        assert_eq!(answer, expected);
        let whole = after as usize * 16 / KvCache::BLOCK * KvCache::BLOCK;
        assert!(cached >= whole, "{cached} of the first one's {whole}");
    }
    let health = engine.health();
    assert_eq!((health.failed, health.running), (0, 0));
}
