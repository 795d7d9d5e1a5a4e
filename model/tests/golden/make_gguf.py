#!/usr/bin/env python3
"""Writes the files in gguf/ with the `gguf` of PyPI, sentencepiece and transformers.

    pip install gguf sentencepiece protobuf torch transformers safetensors
    python model/tests/golden/make_gguf.py      (offline; about a minute)

    blocks.safetensors   blocks of every number format that Hone reads (`NUMBER.bytes`, ggml's number of the format), and
                         their values by gguf.quants.dequantize (`NUMBER.values`); the formats that gguf can make are
                         there as it makes them too
    tiny.gguf            a random Llama with a SentencePiece vocabulary that was trained for it; Q8_0 and F16 weights
    tiny.jsonl           texts, and their ids by sentencepiece itself
    tiny.safetensors     ids, and the logits that transformers computes of them with the dequantised weights
"""
import io
import json
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, TokenType, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
STARTER = HERE.parents[1] / "starter"
FORMATS = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]
#: Where each format has its numbers of 16 bits.
HALVES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0]}
#: Zeros, the smallest and the largest numbers, and some between.
EDGES = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0, -0.37, 0.0123], np.float16)


def blocks(rng):
    out = {}
    for name in FORMATS:
        number = Type[name]
        values, size = GGML_QUANT_SIZES[number]
        count = max(24, 1024 // values)
        if name == "F32":
            raw = np.concatenate([rng.normal(size=count - 4), [0.0, -0.0, 1e-45, 3.4e38]]).astype(np.float32)
            raw = raw.reshape(count, 1).view(np.uint8)
        else:
            raw = rng.integers(0, 256, (count, size), np.uint8)
            if name == "BF16":
                raw[:, 1] = (raw[:, 1] & 0x80) | 0x3F
            raw[0, :], raw[1, :] = 0, 255
            for at in HALVES.get(name, []):
                scale = np.where(np.arange(count) < len(EDGES), np.resize(EDGES, count), rng.normal(size=count))
                raw[:, at:at + 2] = scale.astype(np.float16).reshape(-1, 1).view(np.uint8)
        if name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
            made = quantize(rng.normal(size=(8, values)).astype(np.float32), number)
            raw = np.concatenate([raw, made])
        found = dequantize(raw, number).astype(np.float32)
        assert np.isfinite(found).all() or name == "BF16", name
        out[f"{int(number)}.bytes"] = raw.reshape(-1)
        out[f"{int(number)}.values"] = found.reshape(-1)
    save_file(out, HERE / "gguf" / "blocks.safetensors")


def texts():
    rows = []
    for path in sorted((STARTER / "workloads").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[:20]:
            rows += [m["content"] for m in json.loads(line)["messages"]]
    return rows


#: What words and spaces, scripts and bytes do at their borders. Texts of special tokens are none: sentencepiece itself
#: takes them for plain text.
HARD = ["", " ", "  two  spaces  ", "a", "tabs\tand\nlines\r\n\n", "naïve café — 東京 🙂", "1234567890 3.14", "don't I'LL",
        "x=1;y=(2)", "\u200d\u0301", "ÀÉ", "▁low line", "URL https://a.b/c?d=e&f=%20"]


def vocabulary():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts()), model_writer=model, model_type="bpe", vocab_size=512, byte_fallback=True,
        character_coverage=0.999, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, num_threads=1, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def kind(pieces, i):
    if pieces.is_unknown(i):
        return TokenType.UNKNOWN
    if pieces.is_control(i):
        return TokenType.CONTROL
    return TokenType.BYTE if pieces.is_byte(i) else TokenType.NORMAL


def interleave(weight, heads):
    """As llama.cpp's converter lays out queries and keys."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tiny(pieces):
    config = LlamaConfig(vocab_size=len(pieces), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=256,
                         rms_norm_eps=1e-5, rope_theta=20000.0, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0 if parameter.dim() > 1 else 1.0)
    path = HERE / "gguf" / "tiny.gguf"
    out = GGUFWriter(path, "llama")
    out.add_name("tiny")
    out.add_block_count(2)
    out.add_context_length(256)
    out.add_embedding_length(64)
    out.add_feed_forward_length(96)
    out.add_head_count(4)
    out.add_head_count_kv(2)
    out.add_key_length(16)
    out.add_value_length(16)
    out.add_rope_dimension_count(16)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(20000.0)
    out.add_vocab_size(len(pieces))
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list([pieces.id_to_piece(i) for i in range(len(pieces))])
    out.add_token_scores([pieces.get_score(i) for i in range(len(pieces))])
    out.add_token_types([kind(pieces, i) for i in range(len(pieces))])
    out.add_bos_token_id(pieces.bos_id())
    out.add_eos_token_id(pieces.eos_id())
    out.add_unk_token_id(pieces.unk_id())
    out.add_chat_template("{% for m in messages %}{{ bos_token }}{{ m.content }}{{ eos_token }}{% endfor %}")
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "model.layers": "blk"}
    stored = {}
    for name, weight in model.state_dict().items():
        weight, to = weight.numpy(), name
        for old, new in names.items():
            to = to.replace(old, new)
        if "attn_q" in to or "attn_k" in to:
            weight = interleave(weight, 4 if "attn_q" in to else 2)
        stored[to] = name
        number = Type.F32 if weight.ndim == 1 else Type.F16 if "attn_v" in to else Type.Q8_0
        data = quantize(np.ascontiguousarray(weight), number)
        out.add_tensor(to, data, raw_dtype=number)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    # The logits of what the file holds, not of what it was made from.
    state = {}
    for tensor in GGUFReader(path).tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if "attn_q" in tensor.name or "attn_k" in tensor.name:
            heads = 4 if "attn_q" in tensor.name else 2
            rows, columns = weight.shape
            weight = weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        state[stored[tensor.name]] = torch.from_numpy(weight.copy())
    model.load_state_dict(state)
    ids = torch.tensor([[pieces.bos_id(), *pieces.encode("Which plan holds the most seats?")]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    save_file({"ids": ids[0].numpy(), "logits": logits.numpy()}, HERE / "gguf" / "tiny.safetensors")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    blocks(np.random.default_rng(0))
    pieces = vocabulary()
    tiny(pieces)
    rows = [{"text": text, "ids": pieces.encode(text)} for text in HARD + texts()[::7]]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / "gguf" / "tiny.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
