"""Writes statistics.json (SciPy's figures) and checks.json (checks.py's verdicts) for tests/golden.rs.

    python eval/tests/golden/golden.py        # needs scipy and numpy
"""
import json
import pathlib
import sys

import numpy as np
from scipy import stats

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "model/starter/recipe"))
import checks  # noqa: E402

rng = np.random.default_rng(11)


def mcnemar():
    pairs = [(0, 0), (1, 0), (0, 1), (5, 5), (3, 1), (10, 2), (83, 0), (40, 25), (7, 19), (500, 431), (2000, 1900), (1, 4000)]
    return [{"gained": b, "lost": c, "p": stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0} for b, c in pairs]


def wilson():
    out = []
    for k, n in [(0, 10), (10, 10), (1, 100), (84, 100), (250, 400), (3, 7), (4999, 5000)]:
        ci = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        out.append({"passed": k, "n": n, "low": ci.low, "high": ci.high})
    return out


def bootstrap():
    samples = {
        "small floats": rng.normal(0.03, 0.1, 400),
        "skewed floats": rng.exponential(0.05, 300) - 0.02,
        "passes of 2000": rng.choice([-1.0, 0.0, 1.0], 2000, p=[0.03, 0.9, 0.07]),
    }
    out = []
    for name, x in samples.items():
        x = np.round(x, 6)
        ci = stats.bootstrap((x,), np.mean, n_resamples=200_000, batch=2000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
        out.append({"name": name, "differences": x.tolist(), "low": ci.low, "high": ci.high})
    return out


TEXTS = [
    "", " ", "#### 22", "####", "a #### b", "7\n#### 22\n", "#### 22 and 23", "1 #### 2 #### 3", "#### -1,234.50", "costs $1,234.", "1,2,3", "-5", "10-5",
    "3.", "3.5.7", ".5", "22.0000001", "22.00001", "The answer is 22", "22 apples and 4 pears", "#### twenty", "1e3", "--4", "9" * 400,
    "black", "black.", " black ", "Black", "black...", "black. .", "black .", "black .\n", "It is black", "\x1cblack\x1f", "\u00a0black\u2003", "black\u200b",
    "Decision: Harbor", "Decision: Harbor.", "Decision: Harbor\n", "Decision: Harbor!", "decision: harbor", "Decision: Harbor\nmore", "x\nDecision: Harbor",
    "Peach. The others", "peach", "peaches", "a peach", "STRASSE", "straße", "ΟΔΟΣ", "οδος", "İstanbul", "CARE@northwind.example", "do not know",
]
CHECKS = [
    {"type": "final_number", "value": 22}, {"type": "final_number", "value": -1234.5}, {"type": "final_number", "value": 1234}, {"type": "final_number", "value": -5},
    {"type": "final_number", "value": 3}, {"type": "final_number", "value": 123}, {"type": "final_number", "value": 4}, {"type": "final_number", "value": 5},
    {"type": "exact", "value": "black"}, {"type": "exact", "value": " black. "}, {"type": "exact", "value": ""}, {"type": "exact", "value": "#### 22"},
    {"type": "contains", "value": "BLACK"}, {"type": "contains", "value": ""}, {"type": "contains", "value": "straße"}, {"type": "contains", "value": "οδος"},
    {"type": "contains", "value": "i̇stanbul"}, {"type": "contains", "value": "care@northwind.example"},
    {"type": "regex", "value": "Decision: Harbor\\.?$"}, {"type": "regex", "value": "(?i)^peach\\b"}, {"type": "regex", "value": "^\\d+$"}, {"type": "regex", "value": "(?m)^Decision"},
]


def verdicts():
    return [{"check": c, "text": t, "ok": checks.ok(c, t)} for c in CHECKS for t in TEXTS]


def dump(name, value):
    (HERE / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")


dump("statistics.json", {"mcnemar": mcnemar(), "wilson": wilson(), "bootstrap": bootstrap()})
dump("checks.json", verdicts())
