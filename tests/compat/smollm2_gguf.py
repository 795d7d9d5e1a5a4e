"""What transformers makes of SmolLM2's GGUF file: python smollm2_gguf.py FILE.gguf > expected.json

transformers reads the weights itself (its own reader undoes llama.cpp's layout); the tokenizer is built here as the
model's own `tokenizer.json` has it.
"""
import json
import sys
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

WORKLOADS = Path(__file__).resolve().parents[2] / "model" / "starter" / "workloads"
HARD = [
    " ", "  two  spaces  ", "tabs\tand\nlines\r\n\n", "naïve café — 東京 🙂🏽", "1234567890 3.14 ½ ٣", "don't I'LL we've",
    "x=1;y=(2)//z", "\u200d\u0301", "<|im_start|>user\nhi<|im_end|>", "<|endoftext|>", "<|im_end", "def f(x):\n    return x**2\n",
    "https://a.b/c?d=e&f=%20", "ÀÉÎ ß ſ", "\x00\x01", "a" * 300, "0" * 60, "\n" * 7, "<repo_name>x<file_sep>",
]
CHATS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "naïve café — 東京 🙂"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n\nc"}, {"role": "user", "content": " c  "}],
]
ASKED = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Write one sentence about the sea."}],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Which colour is grass?"}],
]


def tokenizer(fields):
    value = lambda key: fields[key].contents()
    tokens = value("tokenizer.ggml.tokens")
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in value("tokenizer.ggml.merges")]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    types = value("tokenizer.ggml.token_type")
    made.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, y in zip(tokens, types) if y == 3])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, chat_template=value("tokenizer.chat_template"),
        bos_token=tokens[value("tokenizer.ggml.bos_token_id")], eos_token=tokens[value("tokenizer.ggml.eos_token_id")])


def texts():
    rows = []
    for path in sorted(WORKLOADS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[:10]:
            rows += [m["content"] for m in json.loads(line)["messages"]][-1:]
    return HARD + rows[: 200 - len(HARD)]


def main():
    path = Path(sys.argv[1])
    tok = tokenizer(GGUFReader(path).fields)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    ids = lambda text: tok.encode(text, add_special_tokens=False)
    rendered = lambda talk: tok.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    out = {
        "texts": [{"text": text, "ids": ids(text)} for text in texts()],
        "chats": [{"messages": talk, "text": rendered(talk)} for talk in CHATS],
        "answers": [],
        "likelihoods": [],
    }
    with torch.no_grad():
        for talk in ASKED:
            x = torch.tensor([ids(rendered(talk))])
            y = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=24, do_sample=False, pad_token_id=2)
            answer = tok.decode(y[0, x.shape[1]:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            out["answers"].append({"messages": talk, "text": answer})
        for text in texts()[len(HARD):][::9][:20]:
            x = ids(text)
            logs = torch.log_softmax(model(torch.tensor([x])).logits[0], dim=-1)
            logs = [float(logs[at, token]) for at, token in enumerate(x[1:])]
            out["likelihoods"].append({"ids": x, "logprobs": logs})
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
