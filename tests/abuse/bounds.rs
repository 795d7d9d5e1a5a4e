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
    for (index, bomb) in bombs.iter().enumerate() {
        let messages = json!([{"role": "user", "content": format!("bomb {index}")}]);
        let body = json!({"model": "hone", "messages": messages, "max_tokens": 2});
        let reply = hone.post("/v1/chat/completions", &body).await?;
        assert_eq!(reply.status, 400, "{bomb}: {}", reply.body);
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

#[test]
fn a_gguf_file_that_lies_about_its_lengths_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lies.gguf");
    let head = |tensors: u64, keys: u64| {
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()]
            .concat()
    };
    let long = (1u64 << 62).to_le_bytes();
    // A key of 2^62 bytes, in 32 bytes; as many tensors; a list of as many texts; lists within lists without end.
    let listed = [head(0, 1).as_slice(), &1u64.to_le_bytes(), b"k", &9u32.to_le_bytes()].concat();
    let within = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
    for bytes in [
        [head(0, 1).as_slice(), &long].concat(),
        head(u64::from_le_bytes(long), 0),
        [listed.as_slice(), &8u32.to_le_bytes(), &long, &[0; 64]].concat(),
        [listed, within.repeat(1 << 20)].concat(),
    ] {
        fs_err::write(&file, bytes)?;
        let said = refusal(&["--model", &file.display().to_string()])?;
        assert!(said.contains("lies.gguf is not valid"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_model_without_a_chat_template_continues_texts() -> Result<()> {
    let model = Model::starter()?.with("tokenizer_config.json", "chat_template", Value::Null)?;
    let hone = Hone::builder().argument("--model").argument(model.path()).start().await?;
    let prompt = "<|im_start|>user\n922 times 8?<|im_end|>\n<|im_start|>assistant\n";
    let ask = json!({"model": "hone", "prompt": prompt, "temperature": 0, "max_tokens": 64});
    let answer = hone.post("/v1/completions", &ask).await?.expect(200)?;
    assert_eq!(answer["choices"][0]["text"], "922 * 8 = 7376");
    let ask = json!({"model": "hone", "messages": [{"role": "user", "content": "922 times 8?"}]});
    let refused = hone.post("/v1/chat/completions", &ask).await?;
    let said = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(refused.status, 400);
    assert!(said.contains("no chat template") && said.contains("model.chat_template"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_chat_template_may_come_from_a_file() -> Result<()> {
    let model = Model::starter()?;
    let config: Value =
        serde_json::from_slice(&fs_err::read(model.file("tokenizer_config.json"))?)?;
    let template = config["chat_template"].as_str().context("the starter has a template")?;
    let model = model.with("tokenizer_config.json", "chat_template", Value::Null)?;
    let (path, file) = (model.path(), model.file("own.jinja").display().to_string());
    fs_err::write(&file, template)?;
    let arguments = ["--model", path.as_str(), "--chat-template", file.as_str()];
    let builder = arguments.into_iter().fold(Hone::builder(), |hone, word| hone.argument(word));
    let hone = builder.start().await?;
    let question = json!([{"role": "user", "content": "922 times 8?"}]);
    let ask = json!({"model": "hone", "messages": question, "temperature": 0});
    let answer = hone.post("/v1/chat/completions", &ask).await?.expect(200)?;
    assert_eq!(answer["choices"][0]["message"]["content"], "922 * 8 = 7376");

    // What is no template, and what is not there, is refused at the start, by the file's name.
    fs_err::write(&file, "{% for message in messages %}")?;
    assert!(refusal(&arguments)?.contains("own.jinja"));
    fs_err::remove_file(&file)?;
    assert!(refusal(&arguments)?.contains("own.jinja"));
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

#[tokio::test]
async fn what_is_kept_has_limits() -> Result<()> {
    let limits = "[feedback]\nmax_text = \"2 KiB\"\nmax_tags = 3\nmax_tag_text = 64\n\
                  [evaluation]\non_demand = 2\non_demand_rows = 400\n[retention]\nadapters = 1";
    let hone = Hone::builder().config(limits).start().await?;

    let id = hone.chat("hone", "Hi").await?.id;
    let item = |value: &str, tags: Value| json!({"inference_id": id, "metric_name": "comment", "value": value, "tags": tags});
    let many: std::collections::BTreeMap<_, _> =
        (0..50_000).map(|index| (index.to_string(), "x")).collect();
    for (body, param) in [
        (item(&"x".repeat(1_900_000), json!({})), "value"),
        (item("x", json!(many)), "tags"),
        (item("x", json!({"a": "x".repeat(100)})), "tags"),
    ] {
        let reply = hone.post("/v1/feedback", &body).await?;
        assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!(param)));
    }
    hone.post("/v1/feedback", &item("fine", json!({"a": "b"}))).await?.expect(201)?;

    let row = json!({"messages": [{"role": "user", "content": "1+1"}], "reference": "2",
        "check": {"type": "final_number", "value": 2}});
    let lines = |count: usize| format!("{row}\n").repeat(count);
    let eval = |count: usize| json!({"suite": "mine", "lines": lines(count)});
    assert_eq!(hone.post("/v1/evals", &eval(500)).await?.status, 429);
    let replies = join_all((0..20).map(|_| {
        let body = eval(150);
        let hone = &hone;
        async move { hone.post("/v1/evals", &body).await }
    }));
    let statuses = replies.await.into_iter().map(|reply| Ok(reply?.status));
    let statuses = statuses.collect::<Result<Vec<_>>>()?;
    assert!(statuses.iter().all(|status| [201, 429].contains(status)), "{statuses:?}");
    let taken = statuses.iter().filter(|status| **status == 201).count();
    assert!((1..20).contains(&taken), "{statuses:?}");

    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");
    for (name, status) in [("first", 200), ("second", 429)] {
        let target = hone.drop_folder().join(name);
        fs_err::create_dir_all(&target)?;
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs_err::copy(Path::new(good).join(file), target.join(file))?;
        }
        let body = json!({"lora_name": name, "lora_path": name});
        let reply = hone.post("/v1/load_lora_adapter", &body).await?;
        assert_eq!(reply.status, status, "{name}: {}", reply.body);
    }
    Ok(())
}

#[test]
fn more_memory_than_there_is_is_refused_with_the_figure() -> Result<()> {
    let data = tempfile::tempdir()?;
    let config = data.path().join("hone.toml");
    fs_err::write(&config, "[engine]\nkv_memory = \"500000 GiB\"")?;
    let said = refusal(&["--config", &config.display().to_string()])?;
    assert!(said.contains("engine.kv_memory is 512000000 MiB"), "{said}");

    let output = Command::new(hone_binary())
        .args(["bench", "train", "--batch-size", "2000000", "--length", "2000"])
        .arg("--data-dir")
        .arg(data.path().join("data"))
        .current_dir(data.path())
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("for training) are needed, and"), "{said}");
    Ok(())
}

/// With a few files a daemon could start and answer nobody, and a healthy adapter would look damaged.
#[test]
fn too_few_open_files_are_refused_at_the_start() -> Result<()> {
    let data = tempfile::tempdir()?;
    for files in [17, 20, 24, 100] {
        let command = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &command])
            .arg(hone_binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path().join("data"))
            .current_dir(data.path())
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{files}: {said}");
        assert!(said.contains("ulimit -n 1024") && said.contains("128"), "{files}: {said}");
    }
    Ok(())
}
