#!/usr/bin/env python3
"""The starter's weights as somebody's model of Qwen 2's layout: python3 qwen_layout.py FOLDER writes it.

Qwen 2 is Llama with biases on queries, keys and values. The starter has none, so small ones are drawn: it answers almost as
before, and nothing in the folder says that it is the starter.
"""

import json
import random
import shutil
import struct
import sys
from pathlib import Path

from recipe import STARTER

_SIZE = 0.02


def _bfloat16(value: float) -> bytes:
    """The upper half of a float's bits."""
    return struct.pack("<f", value)[2:]


def _tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    header.pop("__metadata__", None)
    return {name: (one["dtype"], one["shape"], data[slice(*one["data_offsets"])]) for name, one in header.items()}


def _write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def write(folder: Path) -> Path:
    """Writes the model into a folder, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        shutil.copy(STARTER / name, folder)
    config = json.loads((STARTER / "config.json").read_text())
    assert config.pop("attention_bias") is False and config.pop("mlp_bias") is False
    for key in ("pretraining_tp", "head_dim"):
        config.pop(key)
    config |= {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}
    (folder / "config.json").write_text(json.dumps(config, indent=1))

    tensors, rng = _tensors(STARTER / "model.safetensors"), random.Random(2)
    for name in [name for name in tensors if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]:
        rows = tensors[name][1][0]
        bias = b"".join(_bfloat16(rng.gauss(0, _SIZE)) for _ in range(rows))
        tensors[name.removesuffix("weight") + "bias"] = ("BF16", [rows], bias)
    _write(folder / "model.safetensors", tensors)
    return folder


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
