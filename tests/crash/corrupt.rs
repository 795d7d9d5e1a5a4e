//! What a disk, or a hand, did to files of the data directory is found at the start: each damage is repaired or told, and no
//! answer is another one for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hone_engine::testing::{random_adapter, tiny_model};
use hone_tests::Hone;
use serde_json::{Value, json};

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    /// A bit flips, at a place that the number chooses.
    Flip(u64),
    /// It ends in the middle.
    Cut,
    /// It is empty.
    Empty,
    /// It is gone.
    Gone,
    /// It is there and should not be.
    Added,
}

use Damage::{Added, Cut, Empty, Flip, Gone};

/// Does it.
pub(crate) fn damage(file: &Path, how: Damage) -> Result<()> {
    match how {
        Gone => return Ok(fs_err::remove_file(file)?),
        Empty | Added => return Ok(fs_err::write(file, "")?),
        Flip(_) | Cut => {}
    }
    let mut bytes = fs_err::read(file)?;
    match how {
        Flip(seed) => {
            let place = seed.wrapping_mul(6_364_136_223_846_793_005) >> 16;
            let at = usize::try_from(place)? % bytes.len();
            bytes[at] ^= 1 << (seed % 8);
        }
        _ => bytes.truncate(bytes.len() / 2),
    }
    Ok(fs_err::write(file, bytes)?)
}

/// The only folder or file in a folder, but for those of other names.
pub(crate) fn only(folder: &Path, is_it: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if is_it(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        all => bail!("{} such files in {}", all.len(), folder.display()),
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs_err::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A daemon on a tiny model with random weights, whose text depends on each of them.
pub(crate) struct Tiny {
    pub(crate) hone: Hone,
    /// The data directory as it was before any damage.
    whole: tempfile::TempDir,
    _model: tempfile::TempDir,
}

impl Tiny {
    pub(crate) async fn start(config: &str) -> Result<Self> {
        let model = tempfile::tempdir()?;
        tiny_model(model.path(), 1)?;
        let folder = model.path().display().to_string();
        let hone = Hone::builder()
            .config("[model]\nthreads = 1")
            .config(config)
            .argument("--model")
            .argument(folder)
            .start()
            .await?;
        Ok(Self { hone, whole: tempfile::tempdir()?, _model: model })
    }

    /// Kills the daemon, and keeps what is on its disk.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.hone.kill()?;
        copy_folder(&self.hone.data(), self.whole.path())
    }

    /// Puts everything back, does something to it, and starts again. What the daemon says at that start.
    pub(crate) async fn start_after(
        &mut self,
        spoil: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<String> {
        let data = self.hone.data();
        fs_err::remove_dir_all(&data)?;
        copy_folder(self.whole.path(), &data)?;
        spoil(&data)?;
        let said = self.hone.log()?.len();
        self.hone.restart().await?;
        Ok(self.hone.log()?.split_off(said))
    }
}

/// Who answers, and what.
async fn answer(hone: &Hone, model: &str) -> Result<Option<(String, String)>> {
    let ask = json!({
        "model": model, "temperature": 0, "max_tokens": 24,
        "messages": [{"role": "user", "content": "Name a colour and a town."}],
    });
    let reply = hone.post("/v1/chat/completions", &ask).await?;
    ensure!(reply.status < 500, "{model}: {} {}", reply.status, reply.body);
    if reply.status != 200 {
        return Ok(None);
    }
    let text = reply.body["choices"][0]["message"]["content"].as_str().context("no text")?;
    Ok(Some((reply.header("x-hone-adapter").to_owned(), text.to_owned())))
}

/// The daemon answers only what it answered before, whoever answers, and nothing fails.
async fn is_sound(hone: &Hone, before: &BTreeMap<String, String>) -> Result<()> {
    for model in ["hone", "hone:base", "hone:first", "hone:second", "hone:previous"] {
        let Some((adapter, text)) = answer(hone, model).await? else {
            ensure!(!["hone", "hone:base"].contains(&model), "{model} does not answer");
            continue;
        };
        ensure!(before.get(&adapter) == Some(&text), "{model}, {adapter} answers {text:?}");
    }
    for path in
        ["/readyz", "/v1/adapters", "/v1/models", "/v1/interactions", "/v1/cycles", "/metrics"]
    {
        let reply = hone.get(path).await?;
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.body);
    }
    let back = hone.post("/v1/adapters/rollback", &json!({})).await?;
    ensure!(back.status < 500, "rollback: {} {}", back.status, back.body);
    let (adapter, text) = answer(hone, "hone").await?.context("no answer after a rollback")?;
    ensure!(before.get(&adapter) == Some(&text), "rolled back, {adapter} answers {text:?}");
    Ok(())
}

/// What is damaged, and how; whether the daemon must tell, or may find that it makes no difference.
fn at_rest(data: &Path, live: &str, other: &str) -> Result<Vec<(PathBuf, Damage, bool)>> {
    let base = only(&data.join("base"), |name| name.len() == 64)?;
    let choice = only(&data.join("base/sources"), |name| name.ends_with(".choice.json"))?;
    let source = only(&data.join("base/sources"), |name| !name.ends_with(".choice.json"))?;
    let mut all = Vec::new();
    let mut add = |file: PathBuf, told: bool, how: &[Damage]| {
        all.extend(how.iter().map(|how| (file.clone(), *how, told)));
    };
    let flips = |count: u64| (1..=count).map(Flip).chain([Cut, Empty, Gone]).collect::<Vec<_>>();
    add(base.join("weights.hone"), true, &flips(6));
    add(base.join("manifest.json"), true, &flips(3));
    for small in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        add(base.join(small), true, &flips(1));
    }
    add(base.join("generation_config.json"), true, &[Added]);
    add(source, false, &flips(1));
    add(choice, false, &flips(1));
    // A blank between its fields may become another one; what is not there begins with the manifests.
    add(data.join("live.json"), false, &flips(3));
    for id in [live, other] {
        let folder = data.join("adapters").join(id);
        for file in ["adapter_model.safetensors", "adapter_config.json", "manifest.json"] {
            add(folder.join(file), true, &flips(1));
        }
    }
    Ok(all)
}

#[tokio::test]
async fn no_damage_at_rest_is_served_and_none_stops_the_daemon() -> Result<()> {
    let mut tiny = Tiny::start("").await?;
    let base = only(&tiny.hone.data().join("base"), |name| name.len() == 64)?;
    let config = hone_model::Model::open(&base, 1)?.config().clone();
    let mut ids = Vec::new();
    for (seed, name) in [(1, "first"), (2, "second")] {
        random_adapter(&tiny.hone.drop_folder().join(name), &config, 4, 1.0, seed)?;
        let import = json!({"folder": name, "name": name});
        let reply = tiny.hone.post("/v1/adapters", &import).await?;
        ensure!(reply.status < 300 || reply.status == 409, "{} {}", reply.status, reply.body);
        let view = tiny.hone.get(&format!("/v1/adapters/{name}")).await?.expect(200)?;
        let id = view["id"].as_str().context("no id")?.to_owned();
        let promote = format!("/v1/adapters/{id}/promote");
        tiny.hone.post(&promote, &json!({})).await?.expect(200)?;
        ids.push(id);
    }
    let mut before = BTreeMap::new();
    for model in ["hone:base", "hone:first", "hone:second"] {
        let (adapter, text) = answer(&tiny.hone, model).await?.context("no answer")?;
        before.insert(adapter, text);
    }
    ensure!(before.len() == 3, "{before:?}");
    // The source has to lie still for a while before its looks are remembered.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    tiny.hone.kill()?;
    tiny.hone.restart().await?;
    is_sound(&tiny.hone, &before).await?;
    tiny.hone.post("/v1/adapters/rollback", &json!({})).await?.expect(200)?;
    tiny.keep()?;

    let data = tiny.hone.data();
    let all = at_rest(&data, &ids[1], &ids[0])?;
    ensure!(all.len() >= 55, "{}", all.len());
    for (file, how, told) in all {
        let what = format!("{how:?} of {}", file.display());
        let said = tiny.start_after(|_| damage(&file, how)).await.context(what.clone())?;
        let place = file.parent().and_then(Path::file_name).context("a folder")?;
        let named = said
            .lines()
            .any(|line| line.contains("WARN") && line.contains(place.to_string_lossy().as_ref()));
        ensure!(named || !told, "{what} is not told:\n{said}");
        is_sound(&tiny.hone, &before).await.context(what)?;
        tiny.hone.kill()?;
    }
    Ok(())
}

/// Corrections and a cycle on them, killed in the middle of its training.
async fn in_training() -> Result<(Tiny, String)> {
    let settings =
        "[training]\nepochs = 4\ncheckpoint_every = 2\n[evaluation]\nsuites = []\nmax_tokens = 8";
    let mut tiny = Tiny::start(settings).await?;
    tiny.hone.correct("house_format", 12).await?;
    let id = tiny.hone.start_cycle().await?["id"].as_str().context("no id")?.to_owned();
    let runs = tiny.hone.data().join("runs");
    for _ in 0..6000 {
        if let Ok(run) = only(&runs, |name| name.starts_with("run-"))
            && let Ok(made) = fs_err::read_dir(run.join("fold-1/checkpoints"))
            && made.count() >= 2
        {
            tiny.keep()?;
            return Ok((tiny, id));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bail!("no checkpoint within a minute: {}", tiny.hone.log()?)
}

#[tokio::test]
async fn no_damage_to_a_cycle_trains_another_adapter() -> Result<()> {
    let (mut tiny, id) = in_training().await?;
    tiny.start_after(|_| Ok(())).await?;
    let end = tiny.hone.cycle_end(&id).await?;
    // Noise has no answers to compare, so that the cycle ends after its training; how, is the same each time.
    let told = |end: &Value| (end["outcomes"]["register"]["digest"].clone(), end["reason"].clone());
    let undamaged = told(&end);
    ensure!(undamaged.0.is_string(), "{end}");
    tiny.hone.kill()?;

    let run = only(&tiny.hone.data().join("runs"), |name| name.starts_with("run-"))?;
    let (whole, halfway) = (PathBuf::from("fold-0"), PathBuf::from("fold-1"));
    let newest = {
        let checkpoints = tiny.whole.path().join("runs").join(run.file_name().context("run")?);
        let folder = fs_err::read_dir(checkpoints.join("fold-1/checkpoints"))?;
        let mut names = folder.map(|it| Ok(it?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        names.pop().context("no checkpoint")?
    };
    let newest = halfway.join("checkpoints").join(newest);
    let cases = [
        (halfway.join("job.json"), vec![Flip(1), Flip(2), Cut, Empty, Gone]),
        (halfway.join("rows.jsonl"), vec![Flip(1), Gone]),
        (newest, vec![Flip(1), Flip(2), Cut, Empty]),
        (whole.join("outcome.json"), vec![Flip(1), Flip(2), Cut, Empty, Gone]),
        (whole.join("adapter/adapter_model.safetensors"), vec![Flip(1), Empty, Gone]),
        (whole.join("adapter/adapter_config.json"), vec![Flip(1)]),
    ];
    for (file, ways) in cases {
        for how in ways {
            let what = format!("{how:?} of {}", file.display());
            tiny.start_after(|_| damage(&run.join(&file), how)).await.context(what.clone())?;
            let end = tiny.hone.cycle_end(&id).await?;
            ensure!(told(&end) == undamaged, "{what}: {end}");
            tiny.hone.kill()?;
        }
    }
    // What the cycle learns from cannot be made again: the cycle says so and ends, and the next one begins anew.
    let snapshot = only(&tiny.hone.data().join("snapshots"), |name| name.len() == 64)?;
    for (name, how) in [
        ("rows.jsonl", Flip(1)),
        ("rows.jsonl", Gone),
        ("rehearsal.jsonl", Gone),
        ("manifest.json", Flip(3)),
        ("manifest.json", Empty),
    ] {
        let what = format!("{how:?} of {name}");
        tiny.start_after(|_| damage(&snapshot.join(name), how)).await.context(what.clone())?;
        let end = tiny.hone.cycle_end(&id).await?;
        let reason = end["reason"].as_str().unwrap_or_default();
        ensure!(end["status"] == "failed" && reason.contains("snapshots/"), "{what}: {end}");
        let next = tiny.hone.run_cycle().await?;
        ensure!(next["snapshot"] == end["snapshot"], "{what}: {next}");
        ensure!(told(&next) == undamaged, "{what}: {next}");
        tiny.hone.kill()?;
    }
    // Leftovers of what a kill cut off are gone after a start.
    let left = [
        run.join("fold-1/.unfinished-x"),
        run.join("fold-1/checkpoints/.unfinished-x"),
        tiny.hone.data().join("snapshots/.unfinished-folder"),
        tiny.hone.data().join("base/.unfinished-folder"),
        tiny.hone.data().join("adapters/.unfinished-folder"),
        tiny.hone.data().join("drop/.unfinished-x"),
        tiny.hone.data().join(".unfinished-x"),
    ];
    let leave = |_: &Path| -> Result<()> {
        for path in &left {
            if path.ends_with(".unfinished-folder") {
                fs_err::create_dir_all(path)?;
            } else {
                fs_err::write(path, "half")?;
            }
        }
        Ok(())
    };
    tiny.start_after(leave).await?;
    for path in &left {
        ensure!(!path.exists(), "{} is still there", path.display());
    }
    Ok(())
}
