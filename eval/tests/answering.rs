//! Suites answered by a real engine on a small model with random weights.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hone_api::chat::{Message, Role};
use hone_api::{AdapterId, InteractionId};
use hone_config::Config;
use hone_dataset::Example;
use hone_engine::testing::{random_adapter, tiny_model};
use hone_engine::{Engine, EngineConfig, Generate, Target};
use hone_eval::{
    Answers, Bootstrap, Error, EvalOptions, GatePolicy, GateVerdict, Pair, Part, RowResult, Suite,
    answer_suite, answer_suites, compare, decide, likelihoods,
};
use hone_model::{Model, Source, WeightFormat};

struct Place {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
}

fn place(config: EngineConfig) -> anyhow::Result<Place> {
    let dir = tempfile::tempdir()?;
    tiny_model(&dir.path().join("hf"), 1)?;
    let source = Source::Folder(dir.path().join("hf"));
    let packed = hone_model::prepare(&source, WeightFormat::F32, dir.path())?;
    let engine = Engine::start(Arc::new(Model::open(&packed, 2)?), config)?;
    Ok(Place { dir, engine })
}

impl Place {
    /// Loads an adapter with random weights; its id and digest.
    fn adapter(&self, seed: u64) -> anyhow::Result<(AdapterId, String)> {
        let dir = self.dir.path().join(format!("adapter-{seed}"));
        random_adapter(&dir, self.engine.model().config(), 4, 2.0, seed)?;
        let id = AdapterId::new();
        Ok((id, self.engine.load(id, &dir)?.digest))
    }
}

fn suite(name: &str, part: Part, rows: usize) -> hone_eval::Result<Suite> {
    let row = |i| {
        format!(
            r#"{{"messages":[{{"role":"user","content":"{name} {i}"}}],"check":{{"type":"regex","value":"[a-m]$"}}}}"#
        )
    };
    let lines: Vec<String> = (0..rows).map(row).collect();
    Suite::parse(name, part, &lines.join("\n"), 0)
}

fn short<'a>() -> anyhow::Result<EvalOptions<'a>> {
    let settings = Config::shipped()?.evaluation;
    Ok(EvalOptions { max_tokens: 6, concurrency: 4, ..EvalOptions::from(&settings) })
}

fn texts(rows: &[RowResult]) -> Vec<&str> {
    rows.iter().map(|row| row.text.as_str()).collect()
}

#[tokio::test]
async fn answers_are_those_of_the_adapter_in_order_and_again() -> anyhow::Result<()> {
    let place = place(EngineConfig {
        max_queue: 2,
        max_sequences: 2,
        ..EngineConfig::from(&Config::shipped()?.engine)
    })?;
    let (id, digest) = place.adapter(1)?;
    let suites = [suite("one", Part::HeldOut, 7)?, suite("two", Part::Control, 5)?];
    let told = AtomicUsize::new(0);
    let progress = |done: usize, all: usize| {
        assert!(done <= all && all == 12);
        told.fetch_add(1, Ordering::Relaxed);
    };
    let base = EvalOptions { progress: Some(&progress), ..short()? };
    let champion = answer_suites(&*place.engine, Target::Base, &suites, &base).await?;
    assert_eq!(told.load(Ordering::Relaxed), 12, "more rows than the queue holds");
    assert_eq!(champion.len(), 12);
    assert!(champion.iter().enumerate().all(|(i, row)| row.row == if i < 7 { i } else { i - 7 }));
    let alone = answer_suite(&*place.engine, Target::Base, &suites[1], &short()?).await?;
    assert_eq!(alone, champion[7..], "whatever else runs");

    let adapted = EvalOptions { adapter_digest: Some(&digest), ..short()? };
    let target = Target::Exact(id);
    let candidate = answer_suites(&*place.engine, target, &suites, &adapted).await?;
    assert_ne!(texts(&candidate), texts(&champion));
    let report = compare(&champion, &candidate, Bootstrap::default())?;
    assert_eq!((report.items, report.families.len()), (12, 2));

    let itself = compare(&candidate, &candidate, Bootstrap::default())?;
    assert_eq!(
        decide(&itself, &GatePolicy::at(0.02, &Config::shipped()?.promotion)).verdict,
        GateVerdict::Reject
    );
    Ok(())
}

#[tokio::test]
async fn an_evaluation_goes_on_where_it_stopped() -> anyhow::Result<()> {
    let place = place(EngineConfig::from(&Config::shipped()?.engine))?;
    let (id, digest) = place.adapter(2)?;
    let path = place.dir.path().join("answers.jsonl");
    let (half, whole) = (suite("mine", Part::HeldOut, 4)?, suite("mine", Part::HeldOut, 9)?);
    let answers = Answers::open(&path)?;
    let options = EvalOptions { answers: Some(&answers), ..short()? };
    let first = answer_suite(&*place.engine, Target::Base, &half, &options).await?;
    assert_eq!(answers.len(), 4);
    drop(answers);

    let answers = Answers::open(&path)?;
    let options = EvalOptions { answers: Some(&answers), ..short()? };
    let tokens = place.engine.health().generated_tokens;
    let again = answer_suite(&*place.engine, Target::Base, &half, &options).await?;
    assert_eq!(again, first);
    assert_eq!(place.engine.health().generated_tokens, tokens, "nothing was generated");
    let more = answer_suite(&*place.engine, Target::Base, &whole, &options).await?;
    assert_eq!((&more[..4], answers.len()), (&first[..], 9), "known rows of another suite");

    let adapted = EvalOptions { adapter_digest: Some(&digest), ..options };
    answer_suite(&*place.engine, Target::Exact(id), &half, &adapted).await?;
    assert_eq!(answers.len(), 13, "another adapter answers anew");
    let longer = EvalOptions { max_tokens: 7, ..options };
    answer_suite(&*place.engine, Target::Base, &half, &longer).await?;
    assert_eq!(answers.len(), 17, "other settings, other answers");
    Ok(())
}

#[tokio::test]
async fn a_correction_that_is_likelier_than_what_it_replaces_passes() -> anyhow::Result<()> {
    let place = place(EngineConfig::from(&Config::shipped()?.engine))?;
    let question = [Message::new(Role::User, "Which way?")];
    // as many tokens each: letters are tokens here
    let pairs = ["left", "help"].map(|answer| Pair { prompt: &question, answer, ends: true });
    let weights = likelihoods(&*place.engine, Target::Base, &pairs, 1).await?;
    let (likelier, other) =
        if weights[0] > weights[1] { ("left", "help") } else { ("help", "left") };
    for (correction, replaces, passes) in
        [(likelier, Some(other), true), (other, Some(likelier), false), (likelier, None, false)]
    {
        let example = serde_json::json!({
            "id": InteractionId::new(), "kind": "supervised", "fold": null, "older": false,
            "cluster": 0, "source": null, "of_base": true, "family": "f", "key": "",
            "messages": [
                {"role": "user", "content": "Which way?"},
                {"role": "assistant", "content": correction},
            ],
            "rejected": replaces,
            "check": {"type": "similar", "value": correction},
        });
        let example: Example = serde_json::from_value(example)?;
        let suite = Suite::from_examples("taught", Part::Taught, &[&example], 0)?;
        let rows = answer_suite(&*place.engine, Target::Base, &suite, &short()?).await?;
        assert_eq!(rows[0].passed, passes, "{correction} for {replaces:?}: {}", rows[0].text);
    }
    Ok(())
}

#[tokio::test]
async fn another_adapter_than_the_measured_one_is_an_error() -> anyhow::Result<()> {
    let place = place(EngineConfig::from(&Config::shipped()?.engine))?;
    let (id, digest) = place.adapter(3)?;
    let suite = suite("mine", Part::HeldOut, 2)?;
    let adapted = EvalOptions { adapter_digest: Some(&digest), ..short()? };
    let live = answer_suite(&*place.engine, Target::Live, &suite, &adapted).await;
    assert!(matches!(live, Err(Error::WrongAdapter { .. })));
    place.engine.set_live(Some(id), 1)?;
    assert!(answer_suite(&*place.engine, Target::Live, &suite, &adapted).await.is_ok());
    let unknown = Target::Exact(AdapterId::new());
    let unknown = answer_suite(&*place.engine, unknown, &suite, &adapted).await;
    assert!(matches!(unknown, Err(Error::Engine(_))));
    Ok(())
}

#[tokio::test]
async fn a_question_that_is_too_long_is_named() -> anyhow::Result<()> {
    let place = place(EngineConfig::from(&Config::shipped()?.engine))?;
    let suite = suite(&"long ".repeat(600), Part::HeldOut, 1)?;
    let error = answer_suite(&*place.engine, Target::Base, &suite, &short()?).await.unwrap_err();
    assert!(matches!(error, Error::Prompt { row: 1, .. }), "{error}");
    Ok(())
}

/// The model card's figures for the first 40 rows, measured with transformers on f32 weights.
#[tokio::test]
async fn the_starter_scores_what_its_card_says() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let packed = hone_model::prepare(&Source::Starter, WeightFormat::Q8, dir.path())?;
    let engine = Engine::start(
        Arc::new(Model::open(&packed, 2)?),
        EngineConfig::from(&Config::shipped()?.engine),
    )?;
    let figures = [
        ("control_facts", 37),
        ("control_instructions", 38),
        ("control_company", 39),
        ("triage", 0),
    ];
    let suites: Vec<Suite> =
        figures.iter().map(|(name, _)| Suite::builtin(name, 40)).collect::<Result<_, _>>()?;
    let rows = answer_suites(
        &*engine,
        Target::Base,
        &suites,
        &EvalOptions::from(&Config::shipped()?.evaluation),
    )
    .await?;
    for (name, expected) in figures {
        let passed = rows.iter().filter(|row| row.suite == name && row.passed).count();
        // 8-bit weights may turn an answer or two
        assert!(passed.abs_diff(expected) <= 2, "{name}: {passed} of 40, the card has {expected}");
    }
    assert!(rows.iter().all(|row| row.stopped));
    Ok(())
}
