//! Adapter folders that are wrong.

use std::path::Path;

use anyhow::Result;
use hone_tests::Hone;
use serde_json::json;

const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

fn copy(to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs_err::copy(Path::new(GOOD).join(file), to.join(file))?;
    }
    Ok(())
}

fn edit(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let file = folder.join("adapter_model.safetensors");
    let mut bytes = fs_err::read(&file)?;
    change(&mut bytes);
    Ok(fs_err::write(file, bytes)?)
}

fn configure(folder: &Path, key: &str, value: serde_json::Value) -> Result<()> {
    let file = folder.join("adapter_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs_err::read(&file)?)?;
    config[key] = value;
    Ok(fs_err::write(file, config.to_string())?)
}

#[tokio::test]
async fn a_bad_folder_is_refused_and_a_good_one_serves() -> Result<()> {
    // The watcher would take the folders before the requests do.
    let hone = Hone::start().await?;
    let drop = hone.data().join("drop");
    let outside = tempfile::tempdir()?;
    copy(outside.path())?;

    let spoil = |name: &str| -> Result<std::path::PathBuf> {
        let folder = outside.path().join(name);
        copy(&folder)?;
        Ok(folder)
    };
    edit(&spoil("truncated")?, |bytes| bytes.truncate(bytes.len() / 2))?;
    edit(&spoil("empty")?, Vec::clear)?;
    edit(&spoil("nan")?, |bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    })?;
    configure(&spoil("rank")?, "r", json!(4))?;
    configure(&spoil("dora")?, "use_dora", json!(true))?;
    configure(&spoil("target")?, "peft_type", json!("IA3"))?;
    let silent = spoil("silent")?;
    edit(&silent, |bytes| {
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default()) as usize;
        bytes[8 + header..].fill(0);
    })?;
    let pickle = spoil("pickle")?;
    fs_err::remove_file(pickle.join("adapter_model.safetensors"))?;
    fs_err::write(pickle.join("adapter_model.bin"), b"\x80\x02}q\x00.")?;

    for name in ["truncated", "empty", "nan", "rank", "dora", "target", "silent", "pickle"] {
        fs_err::rename(outside.path().join(name), drop.join(name))?;
        let body = json!({"lora_name": name, "lora_path": name});
        let reply = hone.post("/v1/load_lora_adapter", &body).await?;
        assert!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.body);
        let ask = json!({"model": name, "messages": [{"role": "user", "content": "Hi"}]});
        assert_eq!(hone.post("/v1/chat/completions", &ask).await?.status, 404, "{name}");
    }
    for path in ["../outside", "/etc", "a/../../b", "..", "no-such-folder", "a\\b", "%2e%2e", ""] {
        let body = json!({"lora_name": "x", "lora_path": path});
        let reply = hone.post("/v1/load_lora_adapter", &body).await?;
        assert!((400..500).contains(&reply.status), "{path}: {} {}", reply.status, reply.body);
        let body = json!({"folder": path, "name": "x"});
        let reply = hone.post("/v1/adapters", &body).await?;
        assert!((400..500).contains(&reply.status), "{path}: {} {}", reply.status, reply.body);
    }
    for name in ["../x", "Ä", "base", "live", "", "a b", &"x".repeat(100)] {
        let body = json!({"lora_name": name, "lora_path": "truncated"});
        let reply = hone.post("/v1/load_lora_adapter", &body).await?;
        assert!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.body);
    }

    copy(&drop.join("good"))?;
    let body = json!({"lora_name": "good-one", "lora_path": "good"});
    let reply = hone.post("/v1/load_lora_adapter", &body).await?;
    let words = reply.expect(200)?;
    assert_eq!(words, "Success: LoRA adapter 'good-one' added successfully.");
    let answer = hone.chat("good-one", "Hi").await?;
    assert!(answer.adapter.starts_with("ad-"), "{}", answer.adapter);
    assert_eq!(hone.chat("hone", "Hi").await?.adapter, "base", "it was not promoted");
    let reply = hone.post("/v1/unload_lora_adapter", &json!({"lora_name": "good-one"})).await?;
    assert_eq!(reply.expect(200)?, "Success: LoRA adapter 'good-one' removed successfully.");
    let ask = json!({"model": "good-one", "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(hone.post("/v1/chat/completions", &ask).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_folder_dropped_in_slowly_is_taken_when_it_is_whole() -> Result<()> {
    let hone = Hone::start().await?;
    let folder = hone.drop_folder().join("slow");
    fs_err::create_dir_all(&folder)?;
    let weights = fs_err::read(Path::new(GOOD).join("adapter_model.safetensors"))?;
    let (first, rest) = weights.split_at(weights.len() / 2);
    fs_err::write(folder.join("adapter_model.safetensors"), first)?;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    fs_err::copy(Path::new(GOOD).join("adapter_config.json"), folder.join("adapter_config.json"))?;
    let mut whole = first.to_vec();
    whole.extend_from_slice(rest);
    fs_err::write(folder.join("adapter_model.safetensors"), whole)?;
    for _ in 0..300 {
        let list = hone.get("/v1/adapters").await?.expect(200)?;
        if list["data"].as_array().is_some_and(|all| !all.is_empty()) {
            assert_eq!(list["data"][0]["state"], "candidate");
            assert_eq!(list["data"][0]["name"], "slow");
            hone.chat("hone:slow", "Hi").await?;
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the folder was not taken: {}", hone.log()?)
}
