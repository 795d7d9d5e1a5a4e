//! Records to store.

use std::collections::BTreeMap;
use std::path::Path;

use hone_api::chat::{
    FinishReason, Function, FunctionCall, Message, Role, Tool, ToolCall, ToolKind,
};
use hone_api::erasure::Subject;
use hone_api::feedback::{Feedback, Signal};
use hone_api::interaction::{Answer, Endpoint, Interaction, ResponseEcho, Timings};
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, FeedbackId, InteractionId, UnixMillis};
use hone_store::{AuditEntry, Erasure, NewFeedback, Store};

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(&folder.join("hone.db")).unwrap()
}

pub(crate) fn entry(action: &str, subject: impl ToString) -> AuditEntry {
    AuditEntry::now("operator".to_owned(), action, subject, "by hand")
}

/// An interaction with every field set.
pub(crate) fn interaction() -> Interaction {
    Interaction {
        id: InteractionId::new(),
        created_at: UnixMillis(1_700_000_000_123),
        endpoint: Endpoint::Chat,
        model: "hone:base".to_owned(),
        adapter_id: Some(AdapterId::new()),
        adapter_digest: Some("0f".repeat(32)),
        base_digest: "abc".to_owned(),
        template_digest: "def".to_owned(),
        messages: vec![
            Message::new(Role::System, "Be \"brief\".\n\u{0}"),
            Message {
                name: Some("ann".to_owned()), ..Message::new(Role::User, "Wie heißt 🦀?")
            },
        ],
        tools: vec![Tool {
            kind: ToolKind::Function,
            function: Function {
                name: "find".to_owned(),
                description: None,
                parameters: Some(
                    serde_json::json!({"type": "object", "properties": {"b": {}, "a": {}}}),
                ),
                strict: Some(true),
            },
        }],
        sampling: SamplingParams {
            temperature: 0.1,
            logit_bias: BTreeMap::from([(7, -100.0), (4095, 0.25)]),
            seed: Some(u64::MAX),
            stop: vec!["\n\n".to_owned()],
            logprobs: Some(3),
            ..SamplingParams::default()
        },
        response: Some(ResponseEcho {
            instructed: true,
            previous: Some(InteractionId::new()),
            format: serde_json::json!({"type": "text"}),
            tool_choice: serde_json::json!("auto"),
            untold_tools: Vec::new(),
            parallel_tool_calls: false,
            max_output_tokens: Some(7),
        }),
        grammar: Some("start: \"yes\" | \"no\"\n".to_owned()),
        computed_by: Some("0.1.0 reference".to_owned()),
        prompt_tokens: vec![1, 128, 4095, u32::MAX],
        answers: vec![
            Answer {
                text: Some("Krabbe".to_owned()),
                tool_calls: vec![ToolCall {
                    id: "call_1".to_owned(),
                    kind: ToolKind::Function,
                    function: FunctionCall {
                        name: "find".to_owned(),
                        arguments: "{\"b\": 1, \"a\": 2}".to_owned(),
                    },
                }],
                tokens: vec![300, 2],
                logprobs: vec![-0.1, f32::NEG_INFINITY],
                finish_reason: FinishReason::Stop,
            },
            Answer {
                text: None,
                tool_calls: vec![],
                tokens: vec![],
                logprobs: vec![],
                finish_reason: FinishReason::Cancelled,
            },
        ],
        timings: Timings { queue_ms: 0.25, ttft_ms: 1.5, total_ms: 33.125 },
        key_id: Some("key-1".to_owned()),
        user: Some("u".to_owned()),
        conversation: Some("c".to_owned()),
        source: Some("0f".repeat(16)),
        metadata: BTreeMap::from([("a.b\"c".to_owned(), "ü".to_owned())]),
        stored: true,
        cached_tokens: 3,
        trainable: true,
    }
}

pub(crate) fn feedback(id: InteractionId, signal: Signal) -> NewFeedback {
    let feedback = Feedback {
        id: FeedbackId::new(),
        inference_id: id,
        signal,
        tags: BTreeMap::from([("family".to_owned(), "f".to_owned())]),
        source: Some("key-1/u".to_owned()),
        created_at: UnixMillis(5),
    };
    let key_id = Some("key-1".to_owned());
    NewFeedback { feedback, key_id, user: Some("u".to_owned()), idempotency_key: None }
}

/// Deletes an interaction; `None`: there was nothing of it.
pub(crate) async fn erase(store: &Store, id: InteractionId) -> Option<Erasure> {
    let wanted = Erasure::of(Subject::Interaction(id), UnixMillis(1));
    store.begin_erasure(wanted).await.unwrap()
}
