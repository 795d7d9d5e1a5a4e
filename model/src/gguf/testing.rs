//! Writes GGUF files, right ones and wrong ones.

use super::blocks::Format;

/// Builds a file, key by key and tensor by tensor.
#[derive(Default)]
pub(super) struct Writer {
    keys: Vec<u8>,
    key_count: u64,
    entries: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
    next: Option<u64>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.extend(counted(name));
        self.keys.extend(kind.to_le_bytes());
        self.keys.extend(value);
        self.key_count += 1;
        self
    }

    fn array(self, name: &str, kind: u32, count: usize, members: Vec<u8>) -> Self {
        let head = [kind.to_le_bytes().as_slice(), &(count as u64).to_le_bytes()].concat();
        self.key(name, 9, &[head, members].concat())
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.key(name, 8, &counted(value))
    }

    /// A u32 where it is one, otherwise a u64.
    pub(super) fn whole(self, name: &str, value: u64) -> Self {
        match u32::try_from(value) {
            Ok(value) => self.key(name, 4, &value.to_le_bytes()),
            Err(_) => self.key(name, 10, &value.to_le_bytes()),
        }
    }

    pub(super) fn real(self, name: &str, value: f32) -> Self {
        self.key(name, 6, &value.to_le_bytes())
    }

    pub(super) fn boolean(self, name: &str, value: bool) -> Self {
        self.key(name, 7, &[u8::from(value)])
    }

    pub(super) fn texts(self, name: &str, values: &[impl AsRef<str>]) -> Self {
        let members = values.iter().flat_map(|value| counted(value.as_ref())).collect();
        self.array(name, 8, values.len(), members)
    }

    pub(super) fn integers(self, name: &str, values: &[i32]) -> Self {
        let members = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(name, 5, values.len(), members)
    }

    pub(super) fn reals(self, name: &str, values: &[f32]) -> Self {
        let members = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(name, 6, values.len(), members)
    }

    /// Says of the next tensor that it begins there, wherever it is.
    pub(super) fn at(mut self, offset: u64) -> Self {
        self.next = Some(offset);
        self
    }

    /// A tensor; its shape is slowest first.
    pub(super) fn tensor(
        mut self,
        name: &str,
        shape: &[u64],
        format: Format,
        bytes: &[u8],
    ) -> Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        let offset = self.next.take().unwrap_or(self.data.len() as u64);
        self.entries.extend(counted(name));
        self.entries.extend((shape.len() as u32).to_le_bytes());
        self.entries.extend(shape.iter().rev().flat_map(|size| size.to_le_bytes()));
        self.entries.extend((format as u32).to_le_bytes());
        self.entries.extend(offset.to_le_bytes());
        self.data.extend(bytes);
        self.tensor_count += 1;
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.key_count.to_le_bytes());
        file.extend(self.keys);
        file.extend(self.entries);
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(self.data);
        file
    }
}

fn counted(text: &str) -> Vec<u8> {
    [(text.len() as u64).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

/// A whole model: one layer, 32 wide, two query heads of 16 and one key head, six tokens.
pub(super) fn llama() -> Writer {
    let ones = 1f32.to_le_bytes().repeat(32);
    let matrix = |writer: Writer, name: &str, shape: [u64; 2]| {
        let numbers = (0..shape[0] * shape[1]).flat_map(|at| (at as f32 / 4096.0).to_le_bytes());
        writer.tensor(name, &shape, Format::F32, &numbers.collect::<Vec<u8>>())
    };
    let mut writer = Writer::new()
        .text("general.architecture", "llama")
        .whole("llama.block_count", 1)
        .whole("llama.context_length", 128)
        .whole("llama.embedding_length", 32)
        .whole("llama.feed_forward_length", 64)
        .whole("llama.attention.head_count", 2)
        .whole("llama.attention.head_count_kv", 1)
        .real("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &["a", "b", "ab", "Ġ", "<s>", "</s>"])
        .integers("tokenizer.ggml.token_type", &[1, 1, 1, 1, 3, 3])
        .texts("tokenizer.ggml.merges", &["a b"])
        .whole("tokenizer.ggml.bos_token_id", 4)
        .whole("tokenizer.ggml.eos_token_id", 5);
    for (name, shape) in [
        ("token_embd.weight", [6, 32]),
        ("blk.0.attn_q.weight", [32, 32]),
        ("blk.0.attn_k.weight", [16, 32]),
        ("blk.0.attn_v.weight", [16, 32]),
        ("blk.0.attn_output.weight", [32, 32]),
        ("blk.0.ffn_gate.weight", [64, 32]),
        ("blk.0.ffn_up.weight", [64, 32]),
        ("blk.0.ffn_down.weight", [32, 64]),
    ] {
        writer = matrix(writer, name, shape);
    }
    for name in ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"] {
        writer = writer.tensor(name, &[32], Format::F32, &ones);
    }
    writer
}
