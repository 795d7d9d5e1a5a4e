//! What a daemon must never tell: noted as it passes through a test, and looked for in all that the daemon says.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Digits of a key's secret.
const SECRET: usize = 64;
/// Bytes of the shortest key.
const BYTES: usize = 16;
/// Shorter texts may stand anywhere by chance.
const WORDS: std::ops::Range<usize> = 12..4096;
/// So many prompts are enough, and more would take long to look for.
const PROMPTS: usize = 200;
/// The fields of requests that people's words are in.
const SAID: [&str; 4] = ["content", "prompt", "value", "input"];

/// Secrets and people's words.
#[derive(Debug, Default)]
pub(crate) struct Canary {
    keys: Mutex<BTreeSet<String>>,
    secrets: Mutex<BTreeSet<String>>,
    prompts: Mutex<BTreeSet<String>>,
}

impl Canary {
    /// Notes the secrets of the API keys in a text.
    pub(crate) fn note_keys(&self, text: &str) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        for word in words {
            let parts = word.strip_prefix("hone-").and_then(|parts| parts.split_once('-'));
            if let Some((id, secret)) = parts
                && (id.len(), secret.len()) == (12, SECRET)
            {
                lock(&self.keys).insert(word.to_owned());
                lock(&self.secrets).insert(secret.to_owned());
            }
        }
    }

    /// The keys that were noted.
    pub(crate) fn keys(&self) -> Vec<String> {
        lock(&self.keys).iter().cloned().collect()
    }

    /// Notes what people say in a request.
    pub(crate) fn note_words(&self, body: &Value) {
        match body {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if SAID.contains(&name.as_str()) => self.note(text),
                        other => self.note_words(other),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.note_words(item)),
            _ => {}
        }
    }

    fn note(&self, text: &str) {
        let mut prompts = lock(&self.prompts);
        if WORDS.contains(&text.len()) && prompts.len() < PROMPTS {
            prompts.insert(text.to_owned());
        }
    }

    /// Notes the bytes of a key, as they would be printed.
    pub(crate) fn note_bytes(&self, bytes: &[u8]) {
        // So few are no key, and stand anywhere.
        if bytes.len() < BYTES {
            return;
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        lock(&self.secrets).extend([hex.to_uppercase(), hex, format!("{bytes:?}")]);
    }

    /// Whether a text tells one of the secrets.
    pub(crate) fn is_secret_in(&self, text: &str) -> bool {
        lock(&self.secrets).iter().any(|secret| text.contains(secret))
    }

    /// The lines of a text that tell a secret, or what somebody asked or said.
    pub(crate) fn told_in(&self, text: &str) -> Vec<String> {
        let prompts = lock(&self.prompts);
        let told = |line: &&str| {
            self.is_secret_in(line) || prompts.iter().any(|prompt| line.contains(prompt.as_str()))
        };
        text.lines().filter(told).map(str::to_owned).collect()
    }
}

fn lock<T>(noted: &Mutex<T>) -> MutexGuard<'_, T> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_noted_is_found() {
        let canary = Canary::default();
        let secret = "0123456789abcdef".repeat(4);
        canary.note_keys(&format!("{{\"key\":\"hone-0123456789ab-{secret}\"}}"));
        canary.note_words(&json!({"messages": [{"role": "user", "content": "Who is Zebulon?"}]}));
        canary.note_words(&json!({"metric_name": "comment", "value": "Zebulon is a cat."}));
        canary.note_bytes(&[171; 16]);
        canary.note_bytes(&[]);
        let told = |text: &str| canary.told_in(text).len();
        assert_eq!(told(&format!("one\nkey={secret}\nwho=\"Who is Zebulon?\"")), 2);
        assert_eq!(told("comment=\"Zebulon is a cat.\""), 1);
        assert_eq!(told(&format!("key={}", "ab".repeat(16))), 1);
        assert_eq!(told(&format!("key={:?}", [171; 16])), 1);
        assert_eq!(told("hone-0123456789ab asks; role=user metric=comment"), 0);
        assert!(canary.is_secret_in(&secret) && !canary.is_secret_in("Who is Zebulon?"));
    }
}
