//! Speculation as callers see it: the same answers in fewer steps.

use super::*;

/// Requests whose answers repeat themselves, and others; with all that sampling may be asked for.
fn requests(adapter: AdapterId) -> Vec<Request> {
    let sampling: [fn(&mut SamplingParams); 7] = [
        |_| {},
        |sampling| sampling.logprobs = Some(3),
        |sampling| sampling.stop = vec!["zz".to_owned(), " a".to_owned()],
        |sampling| sampling.frequency_penalty = 0.4,
        |sampling| sampling.temperature = 1.0,
        |sampling| {
            sampling.temperature = 1.0;
            sampling.allowed_token_ids = Some(vec![40, 41]);
        },
        |sampling| {
            sampling.temperature = 0.7;
            sampling.allowed_token_ids = Some(vec![40, 41, 42]);
            sampling.repetition_penalty = 1.1;
        },
    ];
    let prompts = ["One two three. One two three. One two", "Tell me something else about it"];
    let mut requests = Vec::new();
    for (index, set) in sampling.iter().enumerate() {
        for (prompt, target) in prompts.iter().zip([Target::Base, Target::Exact(adapter)]) {
            let mut request = on(target, request(prompt, 90 + index as u32));
            request.sampling.seed = Some(7);
            set(&mut request.sampling);
            requests.push(request);
        }
    }
    requests
}

fn with(speculative_tokens: usize) -> Arc<Engine> {
    start(EngineConfig { speculative_tokens, prefix_cache_bytes: 0, ..shipped() })
}

#[test]
fn drafts_change_no_answer() {
    let (plain, drafting) = (with(0), with(8));
    let expected: Vec<Answer> =
        requests(adapter(&plain, 1)).into_iter().map(|it| ask(&plain, it)).collect();
    let requests = requests(adapter(&drafting, 1));
    // One by one, and a few at once, where drafts are fewer.
    let alone: Vec<Answer> = requests.iter().map(|it| ask(&drafting, it.clone())).collect();
    assert_eq!(alone, expected);
    let steps = drafting.health().steps;
    for (requests, expected) in requests.chunks(5).zip(expected.chunks(5)) {
        let running: Vec<Generation> =
            requests.iter().map(|it| drafting.submit(it.clone()).unwrap()).collect();
        for (one, expected) in running.into_iter().zip(expected) {
            assert_eq!(collect(one), *expected);
        }
    }
    let (health, without) = (drafting.health(), plain.health());
    assert!(health.accepted_tokens > 100, "{health:?}");
    assert!(health.draft_tokens > health.accepted_tokens, "some must have been wrong: {health:?}");
    assert!(steps < without.steps, "{steps} steps with drafts, {} without", without.steps);
    assert_eq!((without.draft_tokens, without.accepted_tokens), (0, 0));
}

/// What was computed of wrong drafts is in no cache that others begin from.
#[test]
fn a_conversation_goes_on_from_an_answer_with_drafts() {
    let (plain, drafting) = (with(0), start(shipped()));
    for length in [30, 61, 62, 63, 64, 65, 100] {
        let mut first = request("One two three. One two three. One two", length);
        first.sampling.temperature = 1.0;
        first.sampling.seed = Some(u64::from(length));
        first.sampling.allowed_token_ids = Some(vec![40, 41]);
        let answer = ask(&plain, first.clone());
        assert_eq!(ask(&drafting, first.clone()), answer);
        let mut next = first;
        next.prompt.extend(&answer.tokens);
        next.prompt.extend([7, 8, 9]);
        assert_eq!(ask(&drafting, next.clone()), ask(&plain, next));
    }
    assert!(drafting.health().accepted_tokens > 0 && drafting.health().prefix_hits > 0);
}
