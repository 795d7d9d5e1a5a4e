//! What is going on when the process is killed: small deeds of users and operators, on a tiny random model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hone_engine::testing::{random_adapter, tiny_model};
use hone_tests::{Builder, Hone};
use serde_json::{Value, json};

/// Fast, and without anything that depends on how well a random model learns.
const SETTINGS: &str = "
[training]
rank = 4
epochs = 1
checkpoint_every = 1
kl_weight = 0.0
max_length = 128
[retention]
runs = 1
snapshots = 1
[evaluation]
max_tokens = 4
";

/// What a cycle asks besides what was corrected.
const SUITE: &str = r#"{"messages":[{"role":"user","content":"One?"}],"reference":"1","check":{"type":"exact","value":"1"}}
{"messages":[{"role":"user","content":"Two?"}],"reference":"2","check":{"type":"exact","value":"2"}}
"#;

/// What Ann wrote, and has erased.
pub(crate) const PLANTED: &str = "Zebulon-4931";

/// A deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// The first start of all: the database is made, the model is packed.
    FirstStart,
    /// Users ask and say what they think of it.
    Write,
    /// A cycle from the log to its verdict.
    Cycle,
    /// An operator imports, promotes, rolls back and deletes.
    Operate,
    /// A person has herself erased after a cycle that learned from her.
    Erase,
}

/// What the daemon has acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Interactions.
    pub(crate) interactions: BTreeSet<String>,
    /// Feedback.
    pub(crate) feedback: BTreeSet<String>,
    /// Whether the erasure was answered.
    pub(crate) erased: bool,
}

/// The tiny model, and data directories in which the deeds begin.
#[derive(Debug)]
pub(crate) struct World {
    folder: tempfile::TempDir,
    taught: PathBuf,
    cycled: PathBuf,
}

impl World {
    /// Makes the model, and daemons' lives up to where the deeds begin.
    pub(crate) async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        tiny_model(&folder.path().join("tiny"), 1)?;
        fs_err::write(folder.path().join("suite.jsonl"), SUITE)?;
        let world = Self {
            taught: folder.path().join("taught"),
            cycled: folder.path().join("cycled"),
            folder,
        };
        let mut hone = world.builder().prepare()?;
        hone.restart().await?;
        let config = fs_err::read(world.folder.path().join("tiny/config.json"))?;
        let config = hone_model::ModelConfig::parse(&config, None)?;
        for (name, seed) in [("one", 1), ("other", 2)] {
            random_adapter(&hone.drop_folder().join(name), &config, 4, 1.0, seed)?;
        }
        for number in 0..6 {
            let answer = ask(&hone, &format!("Question {number} of {PLANTED}?")).await?;
            let fix = json!(format!("It is {number}."));
            hone.feedback(&answer, "demonstration", fix, json!({})).await?;
        }
        hone.terminate().await?;
        hone_tests::files::copy(&hone.data(), &world.taught)?;
        hone.restart().await?;
        let end = hone.run_cycle().await?;
        ensure!(end["status"] == "finished", "the tiny model does not go through a cycle: {end}");
        hone.terminate().await?;
        hone_tests::files::copy(&hone.data(), &world.cycled)?;
        Ok(world)
    }

    fn builder(&self) -> Builder {
        Hone::builder()
            .config(SETTINGS)
            .config(&format!("suites = ['{}']", self.folder.path().join("suite.jsonl").display()))
            .argument("--model")
            .argument(self.folder.path().join("tiny").to_string_lossy())
            .argument("--weights")
            .argument("f32")
    }

    /// A daemon that is about to begin.
    pub(crate) fn before(&self, scenario: Scenario) -> Result<Hone> {
        let hone = self.builder().prepare()?;
        match scenario {
            Scenario::FirstStart => {}
            Scenario::Write | Scenario::Cycle | Scenario::Operate => {
                hone_tests::files::copy(&self.taught, &hone.data())?;
            }
            Scenario::Erase => hone_tests::files::copy(&self.cycled, &hone.data())?,
        }
        Ok(hone)
    }
}

async fn ask(hone: &Hone, question: &str) -> Result<String> {
    let body = json!({
        "model": "hone", "messages": [{"role": "user", "content": question}], "temperature": 0,
        "max_tokens": 2, "user": "ann",
    });
    let body = hone.post("/v1/chat/completions", &body).await?.expect(200)?;
    Ok(body["id"].as_str().context("no id")?.to_owned())
}

impl Scenario {
    /// Does it, or does again what a kill has cut off. Ends with the first call that gets no answer.
    pub(crate) async fn play(self, hone: &Hone, acknowledged: &mut Acknowledged) -> Result<()> {
        match self {
            Self::FirstStart => {
                ask(hone, "Hello").await?;
            }
            Self::Write => {
                for _ in 0..2 {
                    let id = ask(hone, "Hello").await?;
                    acknowledged.interactions.insert(id.clone());
                    acknowledged.feedback.insert(hone.thumbs(&id, false).await?);
                }
            }
            Self::Cycle => {
                // What was cut off goes on by itself.
                let cycles = hone.get("/v1/cycles?limit=1&order=desc").await?.expect(200)?;
                let id = match cycles["data"][0]["id"].as_str() {
                    Some(id) => id.to_owned(),
                    None => hone.start_cycle().await?["id"].as_str().context("no id")?.to_owned(),
                };
                let end = hone.cycle_end(&id).await?;
                ensure!(end["status"] == "finished", "{end}");
            }
            Self::Operate => operate(hone).await?,
            Self::Erase => {
                let erased = hone.delete("/v1/subjects/ann").await?.expect(200)?;
                acknowledged.erased = true;
                ensure!(erased["object"] == "erasure", "{erased}");
            }
        }
        Ok(())
    }
}

async fn operate(hone: &Hone) -> Result<()> {
    for name in ["one", "other"] {
        hone.post("/v1/adapters", &json!({"folder": name})).await?.expect(201)?;
        let promoted = hone.post(&format!("/v1/adapters/{name}/promote"), &json!({})).await?;
        promoted.expect(200)?;
    }
    let back = hone.post("/v1/adapters/rollback", &json!({"to": "one"})).await?.expect(200)?;
    ensure!(back["live"].is_string(), "{back}");
    hone.post("/v1/adapters/rollback", &json!({"to": "base"})).await?.expect(200)?;
    let other = hone.delete("/v1/adapters/other").await?;
    ensure!([200, 404].contains(&other.status), "{}", other.body);
    Ok(())
}

/// The pointer, as the file has it.
pub(crate) fn pointer(data: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs_err::read(data.join("live.json"))?)?)
}
