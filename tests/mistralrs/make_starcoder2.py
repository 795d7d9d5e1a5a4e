"""Writes starcoder2/: a tiny StarCoder2 of random weights, a PEFT adapter for it, and what transformers and PEFT make of
them.

    pip install torch transformers peft tokenizers
    python tests/mistralrs/make_starcoder2.py

StarCoder2 is a family that Hone's decoder does not know: LayerNorms with biases, a feed-forward block without a gate. The
folder is laid out as the hub has it: weights in bf16, a byte-level tokenizer, a chat template. golden.json holds greedy
answers in f32, of the base and of the adapter.
"""

import copy
import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Starcoder2Config, Starcoder2ForCausalLM

FOLDER = Path(__file__).parent / "starcoder2"
CHAT = ("{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}")
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEXT = ["the quick brown fox jumps over the lazy dog and then over the other dog",
        "once upon a time there was a small model that answered each question in its own way"]
QUESTIONS = ["Hello", "What is the colour of the sky?"]
BEGINNINGS = ["Once upon a time", "the quick brown"]
TOKENS = 24


def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet,
                                  show_progress=False)
    made.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<|end|>",
                                   chat_template=CHAT)


def weights(model, tok):
    for name, weight in model.named_parameters():
        if weight.dim() == 1 and "norm" in name and name.endswith("weight"):
            weight.data = 1.0 + 0.3 * torch.randn_like(weight)
        elif weight.dim() == 1:
            weight.data = 0.3 * torch.randn_like(weight)
        else:
            weight.data = 2.0 * weight.shape[-1] ** -0.5 * torch.randn_like(weight)
    # The table is the head as well. Answers hardly end by themselves, and can be read: some other token is always likelier.
    for token in range(len(tok)):
        text = tok.decode([token])
        if token < len(SPECIAL) or not (text.isascii() and text.isprintable()):
            model.model.embed_tokens.weight.data[token] *= 0.05
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    return model


def greedy(model, ids):
    ids, prompt = torch.tensor([ids]), len(ids)
    with torch.no_grad():
        for _ in range(TOKENS):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return ids[0, prompt:].tolist()


def answers(model, tok):
    chats = [tok.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True, tokenize=False)
             for q in QUESTIONS]
    made = []
    for kind, asked, prompts in [("chat", QUESTIONS, chats), ("completion", BEGINNINGS, BEGINNINGS)]:
        for words, prompt in zip(asked, prompts):
            ids = tok(prompt, add_special_tokens=False)["input_ids"]
            out = greedy(model, ids)
            made.append({"kind": kind, "prompt": words, "prompt_tokens": len(ids), "tokens": out,
                         "text": tok.decode(out, skip_special_tokens=True)})
    return made


def main():
    torch.manual_seed(22)
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    tok = tokenizer()
    tok.backend_tokenizer.save(str(FOLDER / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": CHAT}
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    model = weights(Starcoder2ForCausalLM(Starcoder2Config(
        vocab_size=len(tok), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, sliding_window=None, use_bias=True,
        tie_word_embeddings=True, residual_dropout=0.0, embedding_dropout=0.0, bos_token_id=0, eos_token_id=0,
        attn_implementation="eager")).float().eval(), tok)
    # A copy: the frequencies of the rotation would not come back from bf16.
    copy.deepcopy(model).bfloat16().save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink()
    # As the published files have it: what newer ones say in `rope_parameters` stands at the top.
    stored = json.loads((FOLDER / "config.json").read_text())
    stored.pop("rope_parameters", None)
    stored.update(rope_theta=10000.0, torch_dtype="bfloat16")
    (FOLDER / "config.json").write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")

    golden = {"base": answers(model, tok)}
    lora = LoraConfig(r=4, lora_alpha=8, use_rslora=True, lora_dropout=0.0, task_type="CAUSAL_LM",
                      target_modules=["q_proj", "v_proj", "o_proj", "c_fc", "c_proj"])
    adapted = get_peft_model(model, lora).eval()
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = 0.5 * weight.shape[-1] ** -0.5 * torch.randn_like(weight)
    adapted.save_pretrained(FOLDER / "adapter")
    (FOLDER / "adapter" / "README.md").unlink(missing_ok=True)
    written = FOLDER / "adapter" / "adapter_config.json"
    said = json.loads(written.read_text())
    said.update(base_model_name_or_path="starcoder2", target_modules=sorted(said["target_modules"]))
    written.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
    golden["adapter"] = answers(adapted, tok)
    assert all(b["tokens"] != a["tokens"] for b, a in zip(golden["base"], golden["adapter"]))
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
