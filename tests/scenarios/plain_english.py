#!/usr/bin/env python3
"""How likely plain English is to an adapter and to its base: python3 plain_english.py PORT [MODEL] asks a daemon that runs.

Old books that nobody teaches. What an adapter costs here it costs everywhere.
"""

import math
import sys
from pathlib import Path

from client import BASE, LIVE, Client

_BOOKS = Path(__file__).with_name("plain_english.txt")


def _likelihood(client: Client, model: str) -> float:
    """The mean log-probability of a token of the books, in nats; each passage stands alone."""
    passages = _BOOKS.read_text(encoding="utf-8").strip().split("\n\n")
    request = {"model": model, "prompt": passages, "max_tokens": 0, "echo": True, "logprobs": 0, "store": False}
    _, reply = client.must("POST", "/v1/completions", request)
    found = [value for choice in reply["choices"] for value in choice["logprobs"]["token_logprobs"] if value is not None]
    return math.fsum(found) / len(found)


def fall(client: Client, model: str = LIVE) -> float:
    """By how many per cent the log-likelihood is below the base's; negative where it rose."""
    base = _likelihood(client, BASE)
    return round(100 * (base - _likelihood(client, model)) / -base, 2)


if __name__ == "__main__":
    asked = Client(int(sys.argv[1]))
    named = sys.argv[2] if len(sys.argv) > 2 else LIVE
    print(f"base {_likelihood(asked, BASE):.4f} nats a token, {named} {_likelihood(asked, named):.4f}: fell by {fall(asked, named)} %")
