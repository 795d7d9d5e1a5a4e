//! Adapters one change away from a good one. None stops the daemon or is a fault of its own, and whatever is accepted
//! means what others read in it: no number that is none, no option that would be passed over, no tensor without a place,
//! a change of honest size. A flipped bit in the weights is refused, or is a weight like any other; then the adapter is
//! known by its own digest, not by that of the good one, loads, and answers.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hone_adapters::{BaseShape, Error, Import, Registry};
use hone_api::adapter::Provenance;
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId, UnixMillis};
use hone_engine::testing::{random_adapter, tiny_model};
use hone_engine::{Engine, EngineConfig, Event, Generate, Party, Priority, Request, Target};
use hone_model::{Model, ModelConfig, Source, WeightFormat};
use hone_tests::Hone;
use serde_json::json;

use super::adapter::Mutant;
use super::{meaning, times};

/// Through the registry and the engine, as an import goes.
const INSIDE: u64 = 1900;
/// Through the whole daemon.
const OUTSIDE: u64 = 100;
/// Longer than any of them takes, by far.
const HANGS: Duration = Duration::from_secs(30);

#[test]
fn mutants_are_refused_or_mean_what_they_say() -> Result<()> {
    let (tell, told) = channel();
    let work = std::thread::spawn(move || import_all(&tell));
    let mut last = String::new();
    loop {
        match told.recv_timeout(HANGS) {
            Ok(mutant) => last = mutant,
            Err(RecvTimeoutError::Timeout) => bail!("{last} hangs"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let joined = work.join().map_err(|_| anyhow::anyhow!("{last} panics"))?;
    let (refused, accepted) = joined.with_context(|| last)?;
    // For whoever runs it by hand.
    let _ = writeln!(std::io::stderr(), "{refused} adapters refused, {accepted} accepted");
    // The changes are of both kinds: that all are refused, or all accepted, would tell nothing.
    ensure!(
        refused > INSIDE / 2 && accepted > INSIDE / 10,
        "{refused} refused, {accepted} accepted"
    );
    Ok(())
}

/// How many are refused and how many accepted.
fn import_all(tell: &Sender<String>) -> Result<(u64, u64)> {
    let folder = tempfile::tempdir()?;
    tiny_model(&folder.path().join("tiny"), 1)?;
    let source = Source::Folder(folder.path().join("tiny"));
    let packed = hone_model::prepare(&source, WeightFormat::F32, folder.path())?;
    let config = EngineConfig::from(&hone_config::Config::shipped()?.engine);
    let engine = Engine::start(Arc::new(Model::open(&packed, 1)?), config)?;
    let base = shape(engine.model().config());
    let registry = Registry::open(&folder.path().join("data"), base.clone())?;
    let good = folder.path().join("good");
    random_adapter(&good, engine.model().config(), 4, 1.0, 7)?;
    let unchanged = Mutant::of(&good)?;
    ensure!(take(&registry, &engine, &base, &good)?, "the good one is refused");

    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..INSIDE * times() {
        let mutant = unchanged.changed(seed);
        let _ = tell.send(format!("mutant {seed} ({})", mutant.what.join(", ")));
        let source = folder.path().join("mutant");
        mutant.write(&source, &good)?;
        match take(&registry, &engine, &base, &source)? {
            true => accepted += 1,
            false => refused += 1,
        }
        fs_err::remove_dir_all(&source)?;
        ensure!(registry.list().is_empty(), "something is left in the registry");
    }
    let left = fs_err::read_dir(folder.path().join("data/adapters"))?.count();
    ensure!(left == 0, "{left} folders are left");
    Ok((refused, accepted))
}

/// Whether a folder is accepted: then it means what it says, loads, answers, and is deleted again.
fn take(registry: &Registry, engine: &Engine, base: &BaseShape, source: &Path) -> Result<bool> {
    let id = AdapterId::new();
    let provenance = Provenance::Import { folder: "mutant".to_owned() };
    let name = Some("mutant".to_owned());
    let import = Import { id, source: source.to_owned(), name, provenance, now: UnixMillis::now() };
    let view = match registry.import(import) {
        Ok(view) => view,
        // The folder's fault, told as such: anything else would be a fault of the daemon's.
        Err(Error::Refused { .. }) => return Ok(false),
        Err(error) => bail!("not refused, but {error:?}"),
    };
    let dir = registry.dir(id);
    let said = meaning::read(&dir, base).context("it was accepted")?;
    ensure!((u64::from(view.rank), view.alpha) == (said.rank, said.alpha), "{view:?} of {said:?}");
    let taken = match engine.load(id, &dir) {
        Ok(loaded) => {
            ensure!(loaded.digest == view.digest, "{} of {}", loaded.digest, view.digest);
            ensure!(loaded.effect.is_finite() && loaded.effect > 0.0, "effect {}", loaded.effect);
            answer(engine, id)?;
            engine.unload(id);
            true
        }
        Err(hone_engine::Error::NoEffect(_) | hone_engine::Error::Broken(_)) => false,
        Err(error) => bail!("verified, and then {error:?}"),
    };
    registry.delete(id)?;
    Ok(taken)
}

fn answer(engine: &Engine, id: AdapterId) -> Result<()> {
    let sampling = SamplingParams { temperature: 0.0, max_tokens: 2, ..SamplingParams::default() };
    let mut generation = engine.submit(Request {
        id: InteractionId::new(),
        prompt: engine.model().front_end().tokenizer.encode("Who are you?", false)?,
        sampling,
        target: Target::Exact(id),
        echo_from: None,
        grammar: None,
        shown: Vec::new(),
        priority: Priority::Interactive,
        party: Party::default(),
    })?;
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::Finished { .. } => return Ok(()),
            Event::Failed(why) => bail!("it does not answer: {why}"),
            _ => {}
        }
    }
    bail!("its answer breaks off")
}

fn shape(config: &ModelConfig) -> BaseShape {
    let (digest, num_layers) = ("tiny".to_owned(), config.num_layers);
    BaseShape { digest, num_layers, modules: config.modules() }
}

#[tokio::test]
async fn mutants_leave_the_daemon_as_it_was() -> Result<()> {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");
    let good = Path::new(good);
    let hone = Hone::start().await?;
    let before = hone.chat("hone", "922 times 8?").await?.text;
    let outside = tempfile::tempdir()?;
    let unchanged = Mutant::of(good)?;
    // The daemon's own watch of the drop folder takes up folders right in it only.
    let below = hone.drop_folder().join("below");
    fs_err::create_dir(&below)?;
    let (mut refused, mut accepted) = (0, 0);
    for seed in INSIDE..INSIDE + OUTSIDE * times() {
        let mutant = unchanged.changed(seed);
        let what = format!("mutant {seed} ({})", mutant.what.join(", "));
        let name = format!("mutant-{seed}");
        mutant.write(&outside.path().join(&name), good)?;
        let dropped = below.join(&name);
        fs_err::rename(outside.path().join(&name), &dropped)?;
        let body = json!({"lora_name": name, "lora_path": format!("below/{name}")});
        let reply = tokio::time::timeout(HANGS, hone.post("/v1/load_lora_adapter", &body)).await;
        fs_err::remove_dir_all(dropped)?;
        let reply = reply.with_context(|| format!("{what} hangs"))?.context(what.clone())?;
        match reply.status {
            200 => {
                accepted += 1;
                let answer = hone.chat(&name, "Hi").await.context(what.clone())?;
                ensure!(answer.adapter.starts_with("ad-"), "{what}: {}", answer.adapter);
                hone.post("/v1/unload_lora_adapter", &json!({"lora_name": name}))
                    .await?
                    .expect(200)
                    .context(what)?;
            }
            400..500 => refused += 1,
            other => bail!("{what}: HTTP {other}: {}", reply.body),
        }
    }
    ensure!(refused > OUTSIDE / 2 && accepted > OUTSIDE / 10, "{refused} and {accepted}");
    let adapters = hone.get("/v1/adapters").await?.expect(200)?;
    assert_eq!(adapters["data"], json!([]), "something stays behind");
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, before);
    Ok(())
}
