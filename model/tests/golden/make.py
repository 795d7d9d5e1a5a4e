"""Makes the golden files beside this script with PyTorch, transformers and PEFT.

    pip install torch transformers peft safetensors
    python model/tests/golden/make.py

Everything is seeded, f32, on the CPU with one thread. The Rust tests in `model/tests/` and `trainer/tests/` compare
against:

    logits.safetensors   prompts (ids) and all their logits, for the base and for the PEFT adapter
    greedy.jsonl         the greedy text of 50 prompts, base
    peft_adapter/        an adapter as PEFT writes it (random B, so that it changes every logit)
    gradients.safetensors  loss and the gradient of every LoRA matrix for one small batch
    anchored.safetensors   the same with half of the divergence from the base on every token added; middle layer only
    ../../../text/tests/golden/templates.jsonl
                         conversations and the ids that transformers' apply_chat_template gives
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
STARTER = HERE.parents[1] / "starter"
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def rows(name, split):
    lines = (STARTER / "workloads" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [r for r in map(json.loads, lines) if r["split"] == split]


def write_lines(name, items):
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    (HERE / name).write_text(text, encoding="utf-8")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    tok = AutoTokenizer.from_pretrained(STARTER)
    model = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32, attn_implementation="eager").eval()

    def ids(messages, prompt=True):
        return tok.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=True)["input_ids"]

    # Greedy text of 50 prompts from ten kinds of control questions.
    kinds = ["arithmetic", "chat", "company", "context", "decisions", "dialogue", "facts", "instructions", "misc", "word_2"]
    asked = [r for kind in kinds for r in rows(f"control_{kind}", "heldout")[:5]]
    greedy = []
    with torch.no_grad():
        for r in asked:
            x = torch.tensor([ids(r["messages"])])
            y = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=128, do_sample=False)
            new = y[0, x.shape[1]:].tolist()
            greedy.append({
                "messages": r["messages"],
                "prompt": x[0].tolist(),
                "tokens": new,
                "text": tok.decode(new, skip_special_tokens=True),
            })
    write_lines("greedy.jsonl", greedy)

    # Conversations of several shapes through the chat template.
    talks = [
        [{"role": "user", "content": "Hi"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "naïve café — 東京 🙂"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n\n"}, {"role": "user", "content": " c  "}],
        [{"role": "user", "content": "1234567890 <|im_end|> <|endoftext|>"}],
    ]
    templates = [{"messages": t, "with_prompt": ids(t), "without_prompt": ids(t, False)} for t in talks]
    write_lines("../../../text/tests/golden/templates.jsonl", templates)

    # Logits of four prompts of different lengths, base and adapter.
    prompts = [ids(r["messages"]) for r in (asked[0], asked[12], asked[27], asked[46])]
    out = {}
    with torch.no_grad():
        for i, p in enumerate(prompts):
            out[f"ids.{i}"] = torch.tensor(p, dtype=torch.int32)
            out[f"base.{i}"] = model(torch.tensor([p])).logits[0]

    peft = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=MODULES))
    generator = torch.Generator().manual_seed(1)
    for name, p in peft.named_parameters():
        if "lora_" in name:
            p.data = torch.randn(p.shape, generator=generator) * (0.05 if "lora_A" in name else 0.02)
    peft.save_pretrained(HERE / "peft_adapter")
    (HERE / "peft_adapter" / "README.md").unlink(missing_ok=True)
    config = HERE / "peft_adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace(str(STARTER), "hone-starter") + "\n")
    with torch.no_grad():
        for i, p in enumerate(prompts):
            out[f"adapter.{i}"] = peft(torch.tensor([p])).logits[0]
    # Four positions of each prompt are enough to see a difference and keep the file small.
    for key in [k for k in out if not k.startswith("ids")]:
        n = out[key].shape[0]
        out[key] = out[key][[0, n // 3, n // 2, n - 1]].contiguous()
    save_file(out, HERE / "logits.safetensors")

    # Loss and gradients of a batch of three answered questions, summed over supervised tokens and divided by their number.
    sample = [rows("averages", "feedback")[0], rows("northwind", "feedback")[3], rows("triage", "feedback")[5]]
    total, count, grads = 0.0, 0, {}
    peft.zero_grad()
    batch = []
    for r in sample:
        prompt = ids(r["messages"])
        answer = tok(r["reference"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        batch.append((prompt, answer))
        count += len(answer)
    for i, (prompt, answer) in enumerate(batch):
        x = torch.tensor([prompt + answer])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        logits = peft(x).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=-100, reduction="sum") / count
        loss.backward()
        total += loss.item()
        grads[f"ids.{i}"] = x[0].to(torch.int32)
        grads[f"prompt_length.{i}"] = torch.tensor([len(prompt)], dtype=torch.int32)
    grads["loss"] = torch.tensor([total])
    for name, p in peft.named_parameters():
        if "lora_" in name:
            grads["grad." + name.replace(".default", "")] = p.grad.clone()
    # Of the 84 matrices keep those of the first, a middle and the last layer.
    keep = {k: v.contiguous() for k, v in grads.items() if not k.startswith("grad.") or any(f"layers.{n}." in k for n in (0, 3, 5))}
    save_file(keep, HERE / "gradients.safetensors")

    # The same, and KL(base || adapted) of every token with weight 0.5.
    peft.zero_grad()
    total = 0.0
    for prompt, answer in batch:
        x = torch.tensor([prompt + answer])
        labels = torch.tensor(([-100] * len(prompt) + answer)[1:])
        with torch.no_grad(), peft.disable_adapter():
            base = torch.log_softmax(peft(x).logits[0, :-1], dim=-1)
        logits = peft(x).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        divergence = torch.nn.functional.kl_div(torch.log_softmax(logits, dim=-1), base, log_target=True, reduction="sum")
        loss = (loss + 0.5 * divergence) / count
        loss.backward()
        total += loss.item()
    anchored = {"loss": torch.tensor([total])}
    for name, p in peft.named_parameters():
        if "lora_" in name and "layers.3." in name:
            anchored["grad." + name.replace(".default", "")] = p.grad.clone().contiguous()
    save_file(anchored, HERE / "anchored.safetensors")


if __name__ == "__main__":
    main()
