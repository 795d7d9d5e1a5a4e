//! The prefix cache as callers see it: answers are the same, and of repeated prompts less is computed.

use hone_model::KvCache;

use super::*;

/// As many tokens as asked for, which nothing before resembles.
pub(super) fn long(length: usize, seed: u32) -> Request {
    let mut request = request("", 6);
    request.prompt = (0..length as u32).map(|i| (i * 31 + seed * 101) % 4000 + 3).collect();
    request
}

/// Its answer, and how much of its prompt was not computed again.
fn cached(engine: &Engine, request: Request) -> (Answer, usize) {
    cached_of(engine.submit(request).unwrap())
}

pub(super) fn cached_of(mut generation: Generation) -> (Answer, usize) {
    let (mut answer, mut cached) = (Answer::default(), None);
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::Token { token, text, logprob, .. } => {
                answer.tokens.push(token);
                answer.text += &text;
                answer.logprobs.push(logprob);
            }
            Event::Finished { reason, completion_tokens, cached_tokens, .. } => {
                (answer.reason, answer.count) = (Some(reason), completion_tokens as usize);
                cached = Some(cached_tokens as usize);
            }
            Event::Started { .. } | Event::PromptLogprobs(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (answer, cached.unwrap())
}

fn without() -> Arc<Engine> {
    start(EngineConfig { prefix_cache_bytes: 0, ..shipped() })
}

#[test]
fn a_prompt_that_goes_on_is_computed_from_where_it_does() {
    let (engine, plain) = (start(shipped()), without());
    let adapter = [adapter(&engine, 1), adapter(&plain, 1)];
    for target in [[Target::Base; 2], adapter.map(Target::Exact)] {
        let first = on(target[0], long(150, 1));
        let (answer, none) = cached(&engine, first.clone());
        assert_eq!(none, 0);
        // The same again; one that goes on; those that turn off at each place.
        assert_eq!(cached(&engine, first.clone()), (answer.clone(), 149));
        let mut next = first.clone();
        next.prompt.extend(&answer.tokens);
        next.prompt.extend([7, 8, 9]);
        let expected = ask(&plain, on(target[1], next.clone()));
        // The last sampled token was not computed.
        assert_eq!(cached(&engine, next), (expected, 150 + answer.tokens.len() - 1));
        for at in (0..150).step_by(7) {
            let mut turned = first.clone();
            turned.prompt[at] = 5;
            turned.prompt.truncate(at.max(100) + 20);
            let expected = ask(&plain, on(target[1], turned.clone()));
            let (found, hit) = cached(&engine, turned);
            assert_eq!(found, expected, "{at}");
            assert!(hit >= at && hit <= at + 1, "{hit} at {at}");
        }
    }
    let health = engine.health();
    assert!(health.prefix_hits * 2 > health.prefix_queries, "{health:?}");
    assert!(health.prefix_bytes > 0);
    assert_eq!(plain.health().prefix_bytes, 0);
}

#[test]
fn neither_adapters_nor_callers_see_anothers_prompts() {
    let engine = start(shipped());
    let [one, other] = [1, 2].map(|seed| adapter(&engine, seed));
    let prompt = long(100, 3);
    let targets = [Target::Base, Target::Exact(one), Target::Exact(other)];
    for target in targets {
        for caller in [1, 2] {
            let ask = by(caller, on(target, prompt.clone()));
            assert_eq!(cached(&engine, ask.clone()).1, 0, "{target:?} {caller}");
            assert_eq!(cached(&engine, ask).1, 99);
        }
    }
    let mut evaluation = prompt.clone();
    evaluation.priority = Priority::Background;
    assert_eq!(cached(&engine, evaluation.clone()).1, 0);
    assert_eq!(cached(&engine, evaluation).1, 99);
    // The same weights under another id are the same; and what only an unloaded adapter computed leaves.
    let again = adapter(&engine, 1);
    let ask = |target| cached(&engine, by(1, on(Target::Exact(target), prompt.clone()))).1;
    assert_eq!(ask(again), 99);
    assert!(engine.unload(one));
    assert_eq!(ask(again), 99);
    let before = engine.health().prefix_bytes;
    assert!(engine.unload(again));
    wait_until("its blocks leave", || engine.health().prefix_bytes < before);
    let again = adapter(&engine, 1);
    assert_eq!(ask(again), 0);
    assert_eq!(ask(other), 99);
}

#[test]
fn an_adapter_of_other_settings_is_another_one() {
    let engine = start(shipped());
    let prompt = long(80, 4);
    let folder = tempfile::tempdir().unwrap();
    random_adapter(folder.path(), engine.model().config(), 8, 2.0, 9).unwrap();
    let load = || {
        let id = AdapterId::new();
        engine.load(id, folder.path()).unwrap();
        Target::Exact(id)
    };
    let first = load();
    let config = folder.path().join("adapter_config.json");
    let text = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, text.replace("\"lora_alpha\":16", "\"lora_alpha\":8")).unwrap();
    let second = load();
    let [first, second] = [first, second].map(|target| cached(&engine, on(target, prompt.clone())));
    assert_ne!(first.0.logprobs, second.0.logprobs, "the weights are equal, the scale is not");
    assert_eq!((first.1, second.1), (0, 0));
}

#[test]
fn prompts_are_computed_from_the_first_log_probability_on() {
    let engine = start(shipped());
    let mut echo = long(90, 5);
    echo.echo_from = Some(0);
    let logprobs = |request: &Request| {
        let mut generation = engine.submit(request.clone()).unwrap();
        let (mut all, mut cached) = (Vec::new(), 0);
        while let Some(event) = generation.blocking_next() {
            match event {
                Event::PromptLogprobs(of) => all = of,
                Event::Finished { cached_tokens, .. } => cached = cached_tokens,
                _ => {}
            }
        }
        (all, cached)
    };
    let (whole, _) = logprobs(&echo);
    assert_eq!(whole.len(), 90);
    assert_eq!(logprobs(&echo), (whole.clone(), 0));
    for from in [1, 2, 60, 89] {
        echo.echo_from = Some(from);
        let before = u32::try_from(from - 1).unwrap();
        assert_eq!(logprobs(&echo), (whole[from..].to_vec(), before), "{from}");
    }
    let fresh = start(shipped());
    let mut generation = fresh.submit(echo).unwrap();
    let told = std::iter::from_fn(|| generation.blocking_next()).find_map(|event| match event {
        Event::PromptLogprobs(of) => Some(of),
        _ => None,
    });
    assert_eq!(told, Some(whole[89..].to_vec()), "with nothing in the cache");
    // What it computed serves others.
    assert_eq!(cached(&engine, long(90, 5)).1, 89);
}

#[test]
fn the_cache_takes_what_running_sequences_leave() {
    let block = KvCache::bytes_for(tiny().config(), 1);
    let config = EngineConfig { kv_bytes: block * 8, prefix_cache_bytes: block * 6, ..shipped() };
    let engine = start(config);
    for seed in 0..5 {
        cached(&engine, long(120, seed));
        assert!(engine.health().prefix_bytes <= block * 6);
    }
    assert_eq!(cached(&engine, long(120, 4)).1, 119);
    assert_eq!(cached(&engine, long(120, 1)).1, 0, "it left");
    // One that needs all there is has it, and no other is failed.
    let (answer, _) = cached(&engine, {
        let mut request = long(400, 9);
        request.sampling.max_tokens = 100;
        request
    });
    assert_eq!(answer.tokens.len(), 100);
    assert_eq!(cached(&engine, long(120, 4)).1, 0);
    let health = engine.health();
    assert_eq!((health.failed, health.rejected, health.kv_bytes), (0, 0, 0));
}

#[test]
fn all_is_forgotten_when_asked_for() {
    let engine = start(shipped());
    cached(&engine, long(100, 7));
    assert!(engine.health().prefix_bytes > 0);
    engine.forget_prefixes();
    wait_until("nothing is held", || engine.health().prefix_bytes == 0);
    assert_eq!(cached(&engine, long(100, 7)).1, 0);
}

#[test]
fn a_prompt_is_there_for_others_before_its_answer_ends() {
    let engine = start(shipped());
    let mut first = long(200, 6);
    first.sampling.max_tokens = 300;
    let mut first = engine.submit(first).unwrap();
    first_token(&mut first);
    assert_eq!(cached(&engine, long(200, 6)).1, 200 / KvCache::BLOCK * KvCache::BLOCK);
    assert_eq!(collect(first).tokens.len(), 299);
}
