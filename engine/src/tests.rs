//! The engine as a whole, on a small model with random weights and on the starter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use hone_api::chat::{FinishReason, Message, Role};
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId};
use hone_model::{Model, Source, WeightFormat};
use tempfile::TempDir;

use crate::testing::{random_adapter, tiny_model};
use crate::{
    Engine, EngineConfig, Error, Event, Generate, Generation, Party, Priority, Request, Target,
};

static TINY: LazyLock<(TempDir, Arc<Model>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    tiny_model(&folder.path().join("hf"), 1).unwrap();
    let source = Source::Folder(folder.path().join("hf"));
    let packed = hone_model::prepare(&source, WeightFormat::F32, folder.path()).unwrap();
    let model = Model::open(&packed, 2).unwrap();
    (folder, Arc::new(model))
});

fn tiny() -> Arc<Model> {
    Arc::clone(&TINY.1)
}

/// As the settings that ship.
fn shipped() -> EngineConfig {
    EngineConfig::from(&hone_config::Config::shipped().unwrap().engine)
}

fn start(config: EngineConfig) -> Arc<Engine> {
    Engine::start(tiny(), config).unwrap()
}

/// Loads an adapter with random weights.
fn adapter(engine: &Engine, seed: u64) -> AdapterId {
    let folder = tempfile::tempdir().unwrap();
    random_adapter(folder.path(), engine.model().config(), 8, 2.0, seed).unwrap();
    let id = AdapterId::new();
    let loaded = engine.load(id, folder.path()).unwrap();
    assert!(loaded.effect > 0.01, "{}", loaded.effect);
    id
}

fn request(prompt: &str, max_tokens: u32) -> Request {
    Request {
        id: InteractionId::new(),
        prompt: tiny().front_end().tokenizer.encode(prompt, false).unwrap(),
        sampling: SamplingParams {
            temperature: 0.0,
            max_tokens,
            ignore_eos: true,
            ..SamplingParams::default()
        },
        target: Target::Base,
        echo_from: None,
        grammar: None,
        shown: Vec::new(),
        priority: Priority::Interactive,
        party: Party::default(),
    }
}

fn by(caller: u64, mut request: Request) -> Request {
    request.party.caller = caller;
    request
}

fn on(target: Target, mut request: Request) -> Request {
    request.target = target;
    request
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Answer {
    tokens: Vec<u32>,
    text: String,
    logprobs: Vec<f32>,
    reason: Option<FinishReason>,
    failure: Option<String>,
    /// As the engine counts.
    count: usize,
}

fn collect(mut generation: Generation) -> Answer {
    let mut answer = Answer::default();
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::Token { token, text, logprob, .. } => {
                answer.tokens.push(token);
                answer.text += &text;
                answer.logprobs.push(logprob);
            }
            Event::Finished { reason, completion_tokens, .. } => {
                answer.reason = Some(reason);
                answer.count = completion_tokens as usize;
            }
            Event::Failed(reason) => answer.failure = Some(reason),
            Event::Displaced { .. } => answer.failure = Some("displaced".to_owned()),
            Event::Started { .. } | Event::PromptLogprobs(_) => {}
        }
    }
    answer
}

fn ask(engine: &Engine, request: Request) -> Answer {
    let answer = collect(engine.submit(request).unwrap());
    assert_eq!(answer.count, answer.tokens.len());
    answer
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reads until the first token.
fn first_token(generation: &mut Generation) {
    while let Some(event) = generation.blocking_next() {
        if matches!(event, Event::Token { .. }) {
            return;
        }
    }
    panic!("no token came");
}

#[test]
fn an_answer_is_the_same_alone_and_in_a_crowd_of_adapters() {
    // With the prefix cache the crowd computes little, without it all, in chunks of many sizes.
    let small = EngineConfig {
        max_step_tokens: 24,
        target_token_gap: Duration::from_micros(1),
        ..shipped()
    };
    crowd_equals_alone(&start(small.clone()));
    crowd_equals_alone(&start(EngineConfig { prefix_cache_bytes: 0, ..small.clone() }));
    let whole = EngineConfig { prefix_cache_bytes: 0, target_token_gap: Duration::ZERO, ..small };
    crowd_equals_alone(&start(whole));
}

fn crowd_equals_alone(engine: &Engine) {
    let mut targets = vec![Target::Base];
    targets.extend((0..3).map(|seed| Target::Exact(adapter(engine, seed))));
    let cases: Vec<Request> = (0..16)
        .map(|i| {
            let prompt = "One two three. ".repeat(1 + i % 5) + &i.to_string();
            on(targets[i % targets.len()], request(&prompt, 12 + i as u32))
        })
        .collect();
    let alone: Vec<Answer> = cases.iter().map(|c| ask(engine, c.clone())).collect();
    let crowd: Vec<Generation> = cases.iter().map(|c| engine.submit(c.clone()).unwrap()).collect();
    for (alone, crowd) in alone.into_iter().zip(crowd) {
        assert_eq!(alone, collect(crowd));
    }
    let distinct: std::collections::BTreeSet<Vec<u32>> = targets
        .iter()
        .map(|target| ask(engine, on(*target, request("Hello", 16))).tokens)
        .collect();
    assert_eq!(distinct.len(), targets.len(), "each adapter must answer differently");
}

#[test]
fn the_length_of_an_answer_is_bounded_by_request_and_context() {
    let engine = start(shipped());
    let short = ask(&engine, request("Hi", 5));
    assert_eq!((short.tokens.len(), short.reason), (5, Some(FinishReason::Length)));
    let context = engine.model().config().max_positions;
    let mut long = request("Hi", 9999);
    long.prompt = vec![17; context - 3];
    assert_eq!(ask(&engine, long.clone()).tokens.len(), 3);
    long.prompt = vec![17; context];
    match engine.submit(long).unwrap_err() {
        Error::PromptTooLong { tokens, context: limit } => assert_eq!((tokens, limit), (512, 512)),
        other => panic!("{other}"),
    }
}

#[test]
fn bad_requests_are_refused_at_once() {
    let engine = start(EngineConfig { kv_bytes: 100_000, ..shipped() });
    let mut empty = request("", 5);
    empty.prompt.clear();
    assert!(matches!(engine.submit(empty), Err(Error::EmptyPrompt)));
    let mut alien = request("Hi", 5);
    alien.prompt.push(5000);
    assert!(matches!(engine.submit(alien), Err(Error::TokenRange { .. })));
    let unknown = on(Target::Exact(AdapterId::new()), request("Hi", 5));
    assert!(matches!(engine.submit(unknown), Err(Error::UnknownAdapter(_))));
    assert!(matches!(engine.submit(request("Hi", 500)), Err(Error::OverBudget { .. })));
    let mut cold = request("Hi", 5);
    cold.sampling.temperature = -1.0;
    assert!(matches!(engine.submit(cold), Err(Error::Text(_))));
    assert!(matches!(
        Engine::start(tiny(), EngineConfig { max_sequences: 0, ..shipped() }),
        Err(Error::Config { name: "max_sequences", .. })
    ));
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let engine = start(EngineConfig { max_sequences: 1, ..shipped() });
    let held = engine.hold();
    let running = engine.submit(request("Hi", 480)).unwrap();
    wait_until("it has its place", || engine.health().running == 1);
    let waiting = engine.submit(request("Hi", 480)).unwrap();
    let next = engine.submit(request("Hi", 3)).unwrap();
    assert_eq!(engine.health().waiting, 2);
    drop(waiting);
    assert_eq!(engine.health().waiting, 1, "one that waits leaves at once");
    drop(running);
    drop(held);
    assert_eq!(collect(next).tokens.len(), 3);
    let health = engine.health();
    assert_eq!(health.cancelled, 2);
    // The one that was about to begin, and one for each token of the next.
    assert!(health.steps <= 1 + 3, "the place was not free in time: {health:?}");
    wait_until("all places are free", || engine.health().running == 0);
    assert_eq!(engine.health().kv_bytes, 0);
}

#[test]
fn a_client_that_does_not_read_stops_nobody() {
    let engine = start(shipped());
    let stalled = engine.submit(request("Hi", 300)).unwrap();
    assert_eq!(ask(&engine, request("Hi", 20)).tokens.len(), 20);
    assert_eq!(collect(stalled).tokens.len(), 300);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let config = EngineConfig { max_sequences: 1, max_queue: 2, ..shipped() };
    let engine = start(config);
    let held = engine.hold();
    let running = engine.submit(request("Hi", 480)).unwrap();
    wait_until("it has its place", || engine.health().running == 1);
    let waiting = [(); 2].map(|()| engine.submit(request("Hi", 480)).unwrap());
    match engine.submit(request("Hi", 1)).unwrap_err() {
        Error::QueueFull { waiting, retry_after } => {
            assert_eq!(waiting, 2);
            assert!((1..=60).contains(&retry_after.as_secs()));
        }
        other => panic!("{other}"),
    }
    assert_eq!(engine.health().rejected, 1);
    let mut evaluation = request("Hi", 1);
    evaluation.priority = Priority::Background;
    let evaluation = engine.submit(evaluation).expect("evaluations have a queue of their own");
    drop((running, waiting, held));
    assert_eq!(collect(evaluation).tokens.len(), 1);
}

#[test]
fn a_full_queue_makes_room_for_who_has_fewer_places() {
    let config = EngineConfig { max_sequences: 1, max_queue: 3, ..shipped() };
    let engine = start(config);
    let held = engine.hold();
    let running = engine.submit(by(1, request("Hi", 480))).unwrap();
    wait_until("it has its place", || engine.health().running == 1);
    let ask = |caller| engine.submit(by(caller, request("Hi", 2)));
    let [first, second, mut third] = [(); 3].map(|()| ask(1).unwrap());
    let other = ask(2).expect("another caller has a place though the queue is full");
    assert_eq!(engine.health().waiting, 3);
    match third.blocking_next() {
        Some(Event::Displaced { retry_after }) => {
            assert!((1..=60).contains(&retry_after.as_secs()));
        }
        event => panic!("{event:?}"),
    }
    assert_eq!(third.blocking_next(), None);
    assert!(matches!(ask(2), Err(Error::QueueFull { waiting: 3, .. })), "two and one are equal");
    assert_eq!(engine.health().rejected, 2);
    drop((third, running, held));
    for generation in [first, second, other] {
        assert_eq!(collect(generation).tokens.len(), 2);
    }
}

#[test]
fn long_answers_of_one_caller_hold_up_no_other() {
    let engine = start(EngineConfig { max_sequences: 8, ..shipped() });
    let long: Vec<_> = (0..20).map(|_| engine.submit(by(1, request("Hi", 480))).unwrap()).collect();
    wait_until("they have their places", || engine.health().running == 7);
    for _ in 0..3 {
        assert_eq!(ask(&engine, by(2, request("Hi", 20))).tokens.len(), 20);
    }
    let health = engine.health();
    assert_eq!((health.running, health.waiting), (7, 13), "none of the long ones has ended yet");
    // The same with the cache: what it takes leaves room for one that has nothing.
    drop(long);
    let one = hone_model::KvCache::bytes_for(tiny().config(), 400);
    let engine = start(EngineConfig { kv_bytes: one * 8, ..shipped() });
    let long: Vec<_> = (0..20).map(|_| engine.submit(by(1, request("Hi", 390))).unwrap()).collect();
    wait_until("they have used it up", || engine.health().preempted > 0);
    let before = engine.health();
    assert_eq!(ask(&engine, by(2, request("Hi", 20))).tokens.len(), 20);
    let mut other_user = by(1, request("Hi", 20));
    other_user.party.user = 2;
    assert_eq!(ask(&engine, other_user).tokens.len(), 20);
    let after = engine.health();
    assert_eq!(
        after.finished_length,
        before.finished_length + 2,
        "none of the long ones has ended"
    );
    drop(long);
}

#[test]
fn cache_memory_is_a_budget() {
    let one = hone_model::KvCache::bytes_for(tiny().config(), 400);
    let engine = start(EngineConfig { kv_bytes: one * 2, ..shipped() });
    let all: Vec<Generation> = (0..6).map(|_| engine.submit(request("Hi", 390)).unwrap()).collect();
    let mut most = 0;
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let reader = std::thread::spawn(move || {
        let lengths: Vec<usize> = all.into_iter().map(|g| collect(g).tokens.len()).collect();
        flag.store(true, Ordering::Relaxed);
        lengths
    });
    while !done.load(Ordering::Relaxed) {
        let health = engine.health();
        assert!(health.kv_bytes <= one * 2, "{health:?}");
        most = most.max(health.running);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reader.join().unwrap(), [390; 6]);
    assert!((1..=6).contains(&most), "{most} ran at once");
}

#[test]
fn promotions_under_load_never_mix_adapters() {
    let engine = start(EngineConfig { max_sequences: 6, ..shipped() });
    let prompts: Vec<String> = (0..4).map(|i| "abc ".repeat(i * 7 + 1)).collect();
    let mut expected: BTreeMap<(Option<AdapterId>, usize), Answer> = BTreeMap::new();
    let mut ids = vec![None];
    ids.extend((10..12).map(|seed| Some(adapter(&engine, seed))));
    for id in &ids {
        for (i, prompt) in prompts.iter().enumerate() {
            let target = id.map_or(Target::Base, Target::Exact);
            expected.insert((*id, i), ask(&engine, on(target, request(prompt, 8))));
        }
    }
    let expected = Arc::new(expected);
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(Mutex::new(BTreeMap::<Option<AdapterId>, u32>::new()));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (engine, expected, stop) =
                (Arc::clone(&engine), Arc::clone(&expected), Arc::clone(&stop));
            let (prompts, answered) = (prompts.clone(), Arc::clone(&answered));
            std::thread::spawn(move || {
                for i in client.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let which = i % prompts.len();
                    let generation =
                        engine.submit(on(Target::Live, request(&prompts[which], 8))).unwrap();
                    let named = generation.adapter;
                    assert_eq!(collect(generation), expected[&(named, which)]);
                    *answered.lock().unwrap().entry(named).or_default() += 1;
                }
            })
        })
        .collect();
    // 200 promotions, and as many more as it takes until every adapter has served.
    let mut epoch = 0u64;
    while epoch < 200 || answered.lock().unwrap().len() < ids.len() {
        epoch += 1;
        engine.set_live(ids[epoch as usize % ids.len()], epoch).unwrap();
        assert_eq!(engine.live(), ids[epoch as usize % ids.len()]);
        std::thread::sleep(Duration::from_millis(2));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert!(
        matches!(engine.set_live(None, 3), Err(Error::StaleEpoch { current, .. }) if current == epoch)
    );
}

#[test]
fn a_request_keeps_the_adapter_that_it_began_with() {
    let engine = start(shipped());
    let id = adapter(&engine, 1);
    let whole = ask(&engine, on(Target::Exact(id), request("Tell", 60)));
    engine.set_live(Some(id), 1).unwrap();
    assert!(!engine.unload(id), "what serves is not unloaded");
    let mut generation = engine.submit(on(Target::Live, request("Tell", 60))).unwrap();
    first_token(&mut generation);
    engine.set_live(None, 2).unwrap();
    assert!(engine.unload(id));
    assert!(!engine.is_loaded(id) && !engine.unload(id));
    assert_eq!(generation.adapter, Some(id));
    assert_eq!(collect(generation).tokens, whole.tokens[1..]);
    assert!(matches!(engine.set_live(Some(id), 3), Err(Error::UnknownAdapter(_))));
    assert_eq!(engine.health().adapters, 0);
}

#[test]
fn an_adapter_without_effect_is_refused() {
    let engine = start(shipped());
    let folder = tempfile::tempdir().unwrap();
    let load = |strength: f32| {
        random_adapter(folder.path(), engine.model().config(), 4, strength, 1).unwrap();
        let id = AdapterId::new();
        let result = engine.load(id, folder.path());
        assert_eq!(result.is_ok(), engine.is_loaded(id));
        result
    };
    assert!(matches!(load(0.0), Err(Error::NoEffect(_))));
    assert!(matches!(load(1e30), Err(Error::Broken(_))));
    assert!(load(f32::NAN).is_err());
    assert!(load(1.0).is_ok());
    assert!(matches!(
        engine.load(AdapterId::new(), &folder.path().join("x")),
        Err(Error::Model(_))
    ));
}

#[test]
fn a_panic_ends_the_batch_and_not_the_engine() {
    let engine = start(shipped());
    let expected = ask(&engine, request("Hi", 10));
    engine.panic_next();
    let broken = engine.submit(request("Hi", 400)).unwrap();
    let answer = collect(broken);
    assert!(answer.failure.is_some_and(|f| f.contains("try again")), "{:?}", answer.reason);
    assert_eq!(ask(&engine, request("Hi", 10)), expected);
    let health = engine.health();
    assert_eq!((health.failed, health.alive, health.running), (1, true, 0));
}

#[test]
fn seeds_repeat_answers() {
    let engine = start(shipped());
    let sampled = |seed| {
        let mut request = request("Once", 24);
        request.sampling.temperature = 1.0;
        request.sampling.seed = seed;
        engine.submit(request).unwrap()
    };
    let together = [Some(1), Some(1), Some(2), None, None].map(sampled).map(|g| collect(g).tokens);
    assert_eq!(together[0], together[1]);
    assert_ne!(together[0], together[2]);
    assert_ne!(together[3], together[4], "requests without a seed must differ");
}

#[test]
fn a_stop_string_may_lie_across_tokens() {
    let engine = start(shipped());
    let free = ask(&engine, request("Go", 40));
    // From the middle of one token to the middle of another one, all ASCII.
    let text: Vec<char> = free.text.chars().collect();
    let at = (8..text.len() - 6)
        .find(|at| text[*at..at + 6].iter().all(char::is_ascii_alphanumeric))
        .unwrap_or(8);
    let stop: String = text[at..at + 6].iter().collect();
    let first = free.text.find(&stop).unwrap();
    let mut stopped = request("Go", 40);
    stopped.sampling.stop = vec!["never".to_owned(), stop.clone()];
    let answer = ask(&engine, stopped.clone());
    assert_eq!(answer.text, free.text[..first]);
    assert_eq!(answer.reason, Some(FinishReason::Stop));
    assert!(answer.tokens.len() < free.tokens.len());
    stopped.sampling.min_tokens = 40;
    let late = ask(&engine, stopped);
    assert_eq!((late.tokens, late.text), (free.tokens, free.text));
}

#[test]
fn end_tokens_end_and_min_tokens_holds_them_off() {
    let engine = start(shipped());
    let eos = engine.model().config().eos_token_ids[0];
    let mut ending = request("Hi", 20);
    ending.sampling.ignore_eos = false;
    ending.sampling.logit_bias = [(eos, 100.0)].into();
    let answer = ask(&engine, ending.clone());
    assert_eq!((answer.tokens, answer.reason), (vec![eos], Some(FinishReason::Stop)));
    assert_eq!(answer.text, "");
    ending.sampling.min_tokens = 4;
    let answer = ask(&engine, ending.clone());
    assert_eq!(answer.tokens.len(), 5);
    assert!(!answer.tokens[..4].contains(&eos));
    ending.sampling.ignore_eos = true;
    let answer = ask(&engine, ending);
    assert_eq!((answer.tokens.len(), answer.reason), (20, Some(FinishReason::Length)));
}

#[test]
fn prompt_log_probabilities_are_those_of_generation() {
    let engine = start(EngineConfig { max_step_tokens: 50, ..shipped() });
    let answer = ask(&engine, request("A prompt", 100));
    let mut echo = request("A prompt", 0);
    let prompt = echo.prompt.len();
    echo.prompt.extend(&answer.tokens);
    echo.echo_from = Some(0);
    echo.sampling.logprobs = Some(2);
    let mut generation = engine.submit(echo.clone()).unwrap();
    let mut logprobs = Vec::new();
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::PromptLogprobs(all) => logprobs = all,
            Event::Token { .. } | Event::Failed(_) | Event::Displaced { .. } => panic!("{event:?}"),
            Event::Started { .. } | Event::Finished { .. } => {}
        }
    }
    let tokens: Vec<u32> = logprobs.iter().map(|l| l.token).collect();
    assert_eq!(tokens, echo.prompt);
    assert_eq!(logprobs[0].logprob, None);
    let generated: Vec<f32> = logprobs[prompt..].iter().filter_map(|l| l.logprob).collect();
    assert_eq!(generated, answer.logprobs);
    // It was greedy: each token was its own best alternative.
    assert!(logprobs[prompt..].iter().all(|l| l.top.len() == 2 && l.top[0].0 == l.token));
}

#[test]
fn shutdown_waits_and_then_fails_the_rest() {
    let engine = start(EngineConfig { max_sequences: 1, ..shipped() });
    let short = engine.submit(request("Hi", 3)).unwrap();
    assert_eq!(engine.shutdown(Duration::from_secs(20)), 0);
    assert_eq!(collect(short).tokens.len(), 3);
    assert!(matches!(engine.submit(request("Hi", 1)), Err(Error::ShuttingDown)));
    assert!(!engine.health().alive);

    let engine = start(EngineConfig { max_sequences: 1, ..shipped() });
    let held = engine.hold();
    let running = engine.submit(request("Hi", 480)).unwrap();
    wait_until("it has its place", || engine.health().running == 1);
    let waiting = engine.submit(request("Hi", 480)).unwrap();
    let failed = std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| engine.shutdown(Duration::ZERO));
        wait_until("it stops", || engine.is_stopping());
        drop(held);
        shutdown.join().unwrap()
    });
    assert_eq!(failed, 2);
    for generation in [running, waiting] {
        assert!(collect(generation).failure.is_some_and(|f| f.contains("shutting down")));
    }
}

#[test]
fn a_load_that_meets_the_stop_is_refused() {
    let engine = start(shipped());
    let folder = tempfile::tempdir().unwrap();
    random_adapter(folder.path(), engine.model().config(), 4, 1.0, 1).unwrap();
    let held = engine.hold();
    let _running = engine.submit(request("Hi", 480)).unwrap();
    wait_until("it has its place", || engine.health().running == 1);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| engine.load(AdapterId::new(), folder.path()));
        wait_until("the load waits for the worker", || engine.probes() == 1);
        let shutdown = scope.spawn(|| engine.shutdown(Duration::ZERO));
        wait_until("it stops", || engine.is_stopping());
        drop(held);
        shutdown.join().unwrap();
        assert!(matches!(load.join().unwrap(), Err(Error::ShuttingDown)));
    });
}

#[test]
fn an_idle_engine_is_not_a_stuck_one() {
    let engine = start(shipped());
    ask(&engine, request("Hi", 1));
    std::thread::sleep(Duration::from_millis(5));
    let held = engine.hold();
    let came = Instant::now();
    let waiting = engine.submit(request("Hi", 1)).unwrap();
    let age = engine.health().last_step_age.unwrap();
    assert!(age <= came.elapsed(), "it was idle before: {age:?}");
    drop((waiting, held));
}

#[test]
fn the_load_signal_follows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pressure");
    let config = EngineConfig { load_signal: Some(path.clone()), ..shipped() };
    let engine = start(config);
    let busy = || fs_err::read(&path).unwrap()[8..16] != [0; 8];
    assert!(!busy());
    let held = engine.hold();
    let running = engine.submit(request("Hi", 480)).unwrap();
    assert!(busy(), "a waiting request shows at once");
    wait_until("it has its place", || engine.health().running == 1);
    assert!(busy());
    drop((running, held));
    wait_until("the page says idle", || !busy());
    let mut evaluation = request("Hi", 480);
    evaluation.priority = Priority::Background;
    let mut evaluation = engine.submit(evaluation).unwrap();
    first_token(&mut evaluation);
    assert!(!busy(), "evaluations do not hold training back");
}

#[test]
fn the_starter_answers_questions() {
    let folder = tempfile::tempdir().unwrap();
    let packed = hone_model::prepare(&Source::Starter, WeightFormat::Q8, folder.path()).unwrap();
    let model = Arc::new(Model::open(&packed, 2).unwrap());
    let engine = Engine::start(Arc::clone(&model), shipped()).unwrap();
    let ids: Vec<AdapterId> = (0..2).map(|seed| adapter(&engine, seed)).collect();
    let question = [Message::new(Role::User, "How many r's are in strawberry?")];
    let ask = |target| {
        let request = Request {
            id: InteractionId::new(),
            prompt: model.front_end().encode_chat(&question).unwrap(),
            sampling: SamplingParams {
                temperature: 0.0,
                max_tokens: 64,
                ..SamplingParams::default()
            },
            target,
            echo_from: None,
            grammar: None,
            shown: Vec::new(),
            priority: Priority::Interactive,
            party: Party::default(),
        };
        engine.submit(request).unwrap()
    };
    let crowd = [Target::Base, Target::Exact(ids[0]), Target::Exact(ids[1]), Target::Base].map(ask);
    let [base, first, second, again] = crowd.map(collect);
    assert_eq!(base.text, "s-t-r(1)-a-w-b-e-r(2)-r(3)-y. The letter r appears 3 times.");
    assert_eq!(base.reason, Some(FinishReason::Stop));
    assert_eq!(again, base);
    assert_eq!(first, collect(ask(Target::Exact(ids[0]))));
    assert_eq!(second, collect(ask(Target::Exact(ids[1]))));
}

#[test]
fn a_storm_leaves_nothing_behind() {
    let config = EngineConfig {
        max_sequences: 5,
        max_queue: 40,
        max_step_tokens: 16,
        kv_bytes: hone_model::KvCache::bytes_for(tiny().config(), 128) * 3,
        ..shipped()
    };
    let engine = start(config);
    let targets = [Target::Base, Target::Exact(adapter(&engine, 1)), Target::Live];
    let clients: Vec<_> = (0..6usize)
        .map(|client| {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || {
                let mut outcome = [0u64; 3]; // finished, dropped, refused
                for i in 0..40 {
                    let mut request =
                        on(targets[(client + i) % 3], request("Storm ", 1 + i as u32));
                    if (client + i) % 4 == 0 {
                        request.priority = Priority::Background;
                    }
                    let Ok(mut generation) = engine.submit(request) else {
                        outcome[2] += 1;
                        continue;
                    };
                    // Some leave while they wait, some in the middle, some stay.
                    match (client * 7 + i) % 5 {
                        0 => outcome[1] += 1,
                        1 => {
                            generation.blocking_next();
                            generation.blocking_next();
                            drop(generation);
                            outcome[1] += 1;
                        }
                        _ => {
                            assert_eq!(collect(generation).reason, Some(FinishReason::Length));
                            outcome[0] += 1;
                        }
                    }
                }
                outcome
            })
        })
        .collect();
    let mut total = [0; 3];
    for client in clients {
        let outcome = client.join().unwrap();
        total = std::array::from_fn(|i| total[i] + outcome[i]);
    }
    wait_until("everybody has left", || {
        let health = engine.health();
        health.running == 0 && health.waiting == 0
    });
    let health = engine.health();
    assert_eq!(health.kv_bytes, 0);
    assert_eq!(health.rejected, total[2]);
    assert_eq!(health.failed, 0);
    // One that left may have been finished before that was noticed.
    let ended = health.finished_length + health.cancelled;
    assert_eq!(ended, total[0] + total[1], "{health:?}");
    assert!(health.finished_length >= total[0]);
}

#[test]
fn a_thousand_loads_leave_no_adapter_behind() {
    let engine = start(shipped());
    let folder = tempfile::tempdir().unwrap();
    random_adapter(folder.path(), engine.model().config(), 2, 1.0, 1).unwrap();
    let mut old = Vec::new();
    for i in 0..1000u64 {
        let id = AdapterId::new();
        engine.load(id, folder.path()).unwrap();
        old.push(engine.adapter(id));
        engine.set_live(Some(id), i).unwrap();
        if i % 100 == 0 {
            let answer = ask(&engine, on(Target::Live, request("Hi", 2)));
            assert_eq!(answer.tokens.len(), 2);
        }
        engine.set_live(None, i).unwrap();
        assert!(engine.unload(id));
    }
    assert_eq!((engine.health().adapters, engine.health().adapter_bytes), (0, 0));
    wait_until("all weights are freed", || old.iter().all(|weak| weak.upgrade().is_none()));
}

#[test]
fn events_come_as_a_stream() {
    use futures_util::StreamExt;
    let engine = start(shipped());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events: Vec<Event> =
        runtime.block_on(engine.submit(request("Hi", 4)).unwrap().collect::<Vec<_>>());
    assert!(matches!(events[0], Event::Started { .. }));
    assert!(events[1..5].iter().all(|event| matches!(event, Event::Token { .. })));
    match events[5] {
        Event::Finished { completion_tokens: 4, timings, .. } => {
            assert!(timings.queue_ms <= timings.ttft_ms && timings.ttft_ms <= timings.total_ms);
        }
        ref other => panic!("{other:?}"),
    }
    assert_eq!(events.len(), 6);
}

#[test]
fn who_was_not_asked_for_longest_makes_room() {
    let one = {
        let engine = start(shipped());
        adapter(&engine, 1);
        engine.health().adapter_bytes
    };
    let engine = start(EngineConfig { adapter_bytes: one * 3, ..shipped() });
    let live = adapter(&engine, 1);
    engine.set_live(Some(live), 1).unwrap();
    let (kept, other) = (adapter(&engine, 2), adapter(&engine, 3));
    engine.keep(&[live, kept]);
    let next = adapter(&engine, 4);
    assert!(engine.is_loaded(live) && engine.is_loaded(kept) && engine.is_loaded(next));
    assert!(!engine.is_loaded(other));
    assert_eq!(engine.health().adapter_bytes, one * 3);
    // What stays leaves no room: the one that comes is refused, and nothing is thrown out for it.
    engine.keep(&[live, kept, next]);
    let folder = tempfile::tempdir().unwrap();
    random_adapter(folder.path(), engine.model().config(), 8, 2.0, 5).unwrap();
    let refused = engine.load(AdapterId::new(), folder.path()).unwrap_err();
    assert!(matches!(refused, Error::AdapterMemory { .. }), "{refused}");
    assert_eq!(engine.health().adapters, 3);
}

#[test]
fn who_is_asked_for_stays() {
    let one = {
        let engine = start(shipped());
        adapter(&engine, 1);
        engine.health().adapter_bytes
    };
    let engine = start(EngineConfig { adapter_bytes: one * 2, ..shipped() });
    let (old, young) = (adapter(&engine, 1), adapter(&engine, 2));
    drop(engine.submit(on(Target::Exact(old), request("a", 1))).unwrap());
    adapter(&engine, 3);
    assert!(engine.is_loaded(old) && !engine.is_loaded(young));
}

mod pauses;
mod prefix;
mod speculative;
mod together;
mod warm_up;
