//! Input that is right in form and too much of it: refused with a reason, and the daemon stays as small as it was.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use hone_tests::{Hone, hone_binary};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of the starter, with its files changed.
struct Model(TempDir);

impl Model {
    fn starter() -> Result<Self> {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/starter");
        let folder = tempfile::tempdir()?;
        for name in
            ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
        {
            fs_err::copy(starter.join(name), folder.path().join(name))?;
        }
        let weights = "model.safetensors";
        fs_err::os::unix::fs::symlink(
            starter.canonicalize()?.join(weights),
            folder.path().join(weights),
        )?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn edit(self, name: &str, edit: impl FnOnce(&mut Value)) -> Result<Self> {
        let mut json = serde_json::from_slice(&fs_err::read(self.file(name))?)?;
        edit(&mut json);
        fs_err::write(self.file(name), json.to_string())?;
        Ok(self)
    }

    fn with(self, name: &str, key: &str, value: Value) -> Result<Self> {
        self.edit(name, |json| json[key] = value)
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

/// What a start that is refused says.
fn refusal(arguments: &[&str]) -> Result<String> {
    let data = tempfile::tempdir()?;
    let output = Command::new(hone_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path().join("data"))
        .args(arguments)
        .current_dir(data.path())
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    Ok(said)
}

/// The daemon's highest resident memory so far, in MiB.
fn peak(hone: &Hone) -> Result<u64> {
    let path = format!("/proc/{}/status", hone.pid().context("not running")?);
    let status = fs_err::read_to_string(path)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

#[tokio::test]
async fn megabytes_of_text_are_refused_before_they_are_tokenised() -> Result<()> {
    let hone = Hone::start().await?;
    let before = peak(&hone)?;
    let text = "0".repeat((2 << 20) - 500);
    let chat = json!({"model": "hone", "messages": [{"role": "user", "content": text}]});
    for reply in join_all((0..16).map(|_| hone.post("/v1/chat/completions", &chat))).await {
        let reply = reply?;
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert_eq!(reply.body["error"]["code"], "context_length_exceeded");
        assert_eq!(reply.body["error"]["param"], "messages");
    }
    let prompt = json!({"model": "hone", "prompt": text});
    let reply = hone.post("/v1/completions", &prompt).await?;
    assert_eq!(reply.body["error"]["code"], "context_length_exceeded", "{}", reply.body);
    let reply = hone.post("/v1/tokenize", &json!({"prompt": text})).await?;
    assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!("prompt")));
    let tokens = json!({"tokens": vec![9; 300_000]});
    let reply = hone.post("/v1/detokenize", &tokens).await?;
    assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!("tokens")));
    // Tokenising one of them took 600 MiB. The bodies themselves, parsed, are some megabytes each.
    let grown = peak(&hone)? - before;
    assert!(grown < 300, "{grown} MiB more");
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    Ok(())
}

#[tokio::test]
async fn a_template_that_grows_is_stopped() -> Result<()> {
    let bombs = [
        "{{ ('x' * 1000000) | replace('x', 'y' * 1000000) }}",
        "{% set ns = namespace(s='xx') %}{% for i in range(60) %}\
         {% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ range(100000) | join('x' * 100000) }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    ];
    let branches = bombs.iter().enumerate().map(|(index, bomb)| {
        format!("{{% if messages[0].content == 'bomb {index}' %}}{bomb}{{% endif %}}")
    });
    let branches: String = branches.collect();
    let model = Model::starter()?.edit("tokenizer_config.json", |json| {
        let own = json["chat_template"].as_str().unwrap_or_default();
        json["chat_template"] = format!("{branches}{own}").into();
    })?;
    let hone = Hone::builder().argument("--model").argument(model.path()).start().await?;
    let before = peak(&hone)?;
    for index in 0..bombs.len() {
        let messages = json!([{"role": "user", "content": format!("bomb {index}")}]);
        let body = json!({"model": "hone", "messages": messages, "max_tokens": 2});
        let reply = hone.post("/v1/chat/completions", &body).await?;
        assert_eq!(reply.status, 400, "{}: {}", bombs[index], reply.body);
        assert_eq!(reply.body["error"]["param"], "messages");
    }
    let grown = peak(&hone)? - before;
    assert!(grown < 500, "{grown} MiB more");
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    Ok(())
}

#[test]
fn a_model_that_has_no_bounds_is_refused_by_name() -> Result<()> {
    let config = |key: &str, value: Value| Model::starter()?.with("config.json", key, value);
    let many = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(9999)});
    let slow = json!({
        "type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false,
    });
    let pipe = Model::starter()?;
    fs_err::remove_file(pipe.file("config.json"))?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        pipe.file("config.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )?;
    let endless = Model::starter()?;
    fs_err::remove_file(endless.file("tokenizer.json"))?;
    fs_err::os::unix::fs::symlink("/dev/zero", endless.file("tokenizer.json"))?;
    for (model, word) in [
        (config("num_hidden_layers", json!(1_000_000_000_000_000_000u64))?, "num_hidden_layers"),
        (
            config("rope_theta", json!(0))?.with("config.json", "rope_parameters", Value::Null)?,
            "rope_theta",
        ),
        (config("rms_norm_eps", json!(-1))?, "rms_norm_eps"),
        (
            config("rope_scaling", json!({"type": "linear", "factor": 0}))?.with(
                "config.json",
                "rope_parameters",
                Value::Null,
            )?,
            "factor",
        ),
        (
            Model::starter()?.edit("tokenizer.json", |json| {
                json["model"]["vocab"]["zzq"] = u32::MAX.into();
            })?,
            "4294967295",
        ),
        (Model::starter()?.with("tokenizer.json", "normalizer", many)?, "normalizer"),
        (Model::starter()?.with("tokenizer.json", "pre_tokenizer", slow)?, "pattern"),
        (
            Model::starter()?.with(
                "tokenizer_config.json",
                "chat_template",
                json!("{{ raise_exception('never') }}"),
            )?,
            "never",
        ),
        (pipe, "not a regular file"),
        (endless, "not a regular file"),
    ] {
        let said = refusal(&["--model", &model.path()])?;
        assert!(said.contains(word), "{word}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_byte_order_mark_is_no_fault() -> Result<()> {
    let model = Model::starter()?;
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let text = fs_err::read_to_string(model.file(name))?;
        fs_err::write(model.file(name), format!("\u{feff}{text}"))?;
    }
    let hone = Hone::builder().argument("--model").argument(model.path()).start().await?;
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    Ok(())
}
