"""Writes families/: a tiny model of random weights for each family, and what transformers and PEFT make of it.

    pip install torch transformers peft safetensors bitsandbytes
    python model/tests/golden/make_families.py

A folder holds config.json and model.safetensors (bf16, as transformers saves them), adapter/ (PEFT, random A and B),
and golden.safetensors:

    ids               one text, longer than the windows
    logits            of each of its tokens, base, f32
    adapter_logits    the same with the adapter
    greedy            what greedy decoding adds to the first eight tokens, base
    loss, grad.*      mean cross-entropy of the tokens after the eighth, and its gradient for each LoRA matrix
"""

import copy
import json
import shutil
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "families"
LENGTH, PROMPT, VOCAB = 40, 8, 64
SIZES = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1,
    eos_token_id=2, pad_token_id=0, attention_dropout=0.0,
)
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 3.0, 4.0, 6.0]}

FAMILIES = {
    "llama": ("Llama", dict(rope_scaling=LLAMA3)),
    "llama_biases": ("Llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                   rope_scaling={"rope_type": "linear", "factor": 2.0})),
    "mistral": ("Mistral", dict(sliding_window=9)),
    "qwen2": ("Qwen2", dict(rope_scaling=YARN, tie_word_embeddings=True)),
    "qwen2_windows": ("Qwen2", dict(use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "qwen3": ("Qwen3", dict()),
    "smollm3": ("SmolLM3", dict(num_hidden_layers=4, no_rope_layer_interval=2)),
    "gemma2": ("Gemma2", dict(sliding_window=9, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
                              final_logit_softcapping=3.0)),
    "gemma3": ("Gemma3", dict(num_hidden_layers=3, sliding_window=9, query_pre_attn_scalar=24,
                              layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                              rope_theta=100000.0, rope_scaling={"rope_type": "linear", "factor": 8.0})),
    "phi3": ("Phi3", dict(partial_rotary_factor=0.5, original_max_position_embeddings=64, sliding_window=21,
                          rope_scaling=LONGROPE)),
    "granite": ("Granite", dict(embedding_multiplier=6.0, residual_multiplier=0.4, attention_multiplier=0.1,
                                logits_scaling=3.0, tie_word_embeddings=True)),
    "olmo2": ("Olmo2", dict()),
    "qwen3_nf4": ("Qwen3", dict()),
}
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
       "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16"}


def configuration(kind, changes):
    name = kind + ("TextConfig" if kind == "Gemma3" else "Config")
    values = {**SIZES, **changes}
    if kind in ("Phi3", "Granite", "Olmo2"):
        # These take the width of a head from the others.
        values.pop("head_dim")
        values["num_attention_heads"] = 2
        values["num_key_value_heads"] = 1
    config = getattr(transformers, name)(**values)
    config._attn_implementation = "eager"
    return config


def build(kind, config):
    model = getattr(transformers, kind + "ForCausalLM")(config).float().eval()
    for name, weight in model.named_parameters():
        width = weight.shape[-1] ** -0.5
        if weight.dim() == 1 and "norm" in name:
            offset = 0.0 if kind.startswith("Gemma") else 1.0
            weight.data = offset + 0.3 * torch.randn_like(weight)
        elif weight.dim() == 1:
            weight.data = 0.3 * torch.randn_like(weight)
        else:
            weight.data = 2.0 * width * torch.randn_like(weight)
        weight.data = weight.data.bfloat16().float()
    return model


def widened(codes, state):
    """What the codes stand for, by the format's definition: bitsandbytes 0.50 itself is wrong for it on a CPU with AVX-512."""
    scales = state.absmax
    if state.nested:
        outer = state.state2.absmax.repeat_interleave(state.state2.blocksize)[: scales.numel()]
        scales = state.state2.code[scales.long()] * outer + state.offset
    pairs = torch.stack([state.code[(codes >> 4).flatten().long()], state.code[(codes & 15).flatten().long()]], 1)
    return (pairs.flatten() * scales.repeat_interleave(state.blocksize)).reshape(state.shape)


def save_nf4(model, folder):
    """As Unsloth publishes models; the model goes on with what the codes stand for."""
    from bitsandbytes.functional import quantize_4bit

    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(architectures=[type(model).__name__], quantization_config=NF4)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    stored = {}
    for name, weight in model.named_parameters():
        if name.endswith("_proj.weight"):
            codes, state = quantize_4bit(weight.data, blocksize=64, compress_statistics=True, quant_type="nf4")
            stored[name] = codes
            stored.update({f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()})
            weight.data = widened(codes, state)
        else:
            stored[name] = weight.data.bfloat16()
    save_file({k: v.contiguous() for k, v in stored.items()}, folder / "model.safetensors", {"format": "pt"})


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for seed, (name, (kind, changes)) in enumerate(FAMILIES.items()):
        torch.manual_seed(seed)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model = build(kind, configuration(kind, changes))
        if name.endswith("nf4"):
            save_nf4(model, folder)
        else:
            # A copy: the frequencies of the rotation would not come back from bf16.
            copy.deepcopy(model).bfloat16().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)

        ids = torch.randint(3, VOCAB, (1, LENGTH))
        out = {"ids": ids[0].int()}
        with torch.no_grad():
            out["logits"] = model(ids, use_cache=False).logits[0].clone()
            text = ids[:, :PROMPT]
            for _ in range(16):
                text = torch.cat([text, model(text, use_cache=False).logits[:, -1:].argmax(-1)], 1)
            out["greedy"] = text[0, PROMPT:].int()

        targets = sorted({n.split(".")[-1] for n, m in model.named_modules() if n.endswith("_proj")})
        lora = LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
        adapted = get_peft_model(model, lora).eval()
        for key, weight in adapted.named_parameters():
            if "lora_" in key:
                weight.data = 0.5 * weight.shape[-1] ** -0.5 * torch.randn_like(weight)
        adapted.save_pretrained(folder / "adapter")
        (folder / "adapter" / "README.md").unlink(missing_ok=True)
        # PEFT writes a set, in another order each time.
        path = folder / "adapter" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": targets}, indent=2) + "\n")
        with torch.no_grad():
            out["adapter_logits"] = adapted(ids, use_cache=False).logits[0].clone()
        labels = ids.clone()
        labels[:, :PROMPT] = -100
        logits = adapted(ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100)
        loss.backward()
        out["loss"] = loss.detach().reshape(1)
        for key, weight in adapted.named_parameters():
            if weight.grad is not None:
                out["grad." + key.replace(".default", "")] = weight.grad
        save_file({k: v.contiguous() for k, v in out.items()}, folder / "golden.safetensors")
        print(name, float(out["loss"]), json.dumps(targets))


main()
