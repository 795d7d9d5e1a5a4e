"""Writes statistics.json (SciPy's figures) and checks.json (checks.py's verdicts) for tests/golden.rs.

    python eval/tests/golden/golden.py        # needs scipy and numpy
"""
import itertools
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


def enumerated_signed_rank(d):
    """Over all signs, given the mean ranks: what SciPy's permutation test gives with all resamples."""
    d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))
    signs = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1
    return float(np.mean(signs @ ranks >= ranks[d > 0].sum() - 1e-9))


def wilcoxon():
    own = np.random.default_rng(12)
    whole = lambda shift, n: np.round(own.normal(shift, 2, n))  # noqa: E731  ties and zeros
    out = []
    for n, shift in [(1, 1), (5, 1), (12, 0.5), (30, 0.3), (50, 0.2), (50, -0.2), (50, 1.5)]:
        d = np.round(own.normal(shift, 1, n), 6)
        out.append({"name": f"exact, {n}", "differences": d.tolist(), "p": stats.wilcoxon(d, alternative="greater").pvalue, "tolerance": 1e-9})
    for n, shift in [(6, 1), (10, 0.7), (13, 0.5)]:
        d = whole(shift, n)
        out.append({"name": f"ties, {n}", "differences": d.tolist(), "p": stats.wilcoxon(d, alternative="greater").pvalue, "tolerance": 1e-9})
    for n, shift in [(16, 0.5), (18, 1)]:
        d = whole(shift, n)
        out.append({"name": f"ties, {n}", "differences": d.tolist(), "p": enumerated_signed_rank(d), "tolerance": 1e-9})
    for n, shift in [(51, 0.2), (120, 0.1), (400, 0.2), (400, -0.2)]:
        for d in (np.round(own.normal(shift, 1, n), 6), whole(shift, n + n // 3)):
            p = stats.wilcoxon(d, alternative="greater", method="asymptotic", correction=True).pvalue
            out.append({"name": f"normal, {len(d)}", "differences": d.tolist(), "p": p, "tolerance": 1e-6})
    return out


def binomial():
    out = []
    for k, n, chance in [(0, 10, 0.3), (3, 10, 0.3), (10, 10, 0.3), (9, 10, 0.9), (84, 100, 0.28), (40, 100, 0.3), (600, 2000, 0.28), (5000, 5000, 0.999), (1, 1, 0.5)]:
        test = stats.binomtest(k, n, chance, alternative="greater")
        low = {alpha: test.proportion_ci(1 - alpha, method="exact").low for alpha in (0.05, 0.01, 0.0025)}
        out.append({"successes": k, "n": n, "chance": chance, "p": test.pvalue, "low": list(low.items())})
    return out


def permutation():
    """All permutations within each block, by hand; SciPy's own test for one block without clusters."""
    own = np.random.default_rng(13)
    out = []
    for name, sizes, lift, clusters in [
        ("three rows", [3], 0.5, None), ("seven rows", [7], 0.4, None), ("eight rows", [8], 0.2, None), ("nine rows, drawn", [9], 0.4, None), ("nothing", [6], 0.0, None),
        ("blocks", [3, 4, 5], 0.3, None), ("ties", [5, 4], 1.0, None), ("clusters", [6], 0.6, [[0, 0, 0, 1, 2, 2]]), ("clusters in blocks", [4, 5], 0.3, [[0, 1, 1, 0], [3, 3, 3, 8, 8]]),
    ]:
        blocks, sums, whole = [], np.zeros(1), 0.0
        for at, n in enumerate(sizes):
            s = own.normal(0, 1, (n, n)) + lift * np.eye(n)
            s = np.round(s) if name == "ties" else np.round(s, 6)
            c = np.array(clusters[at] if clusters else range(n))
            w = 1.0 / np.array([(c == one).sum() for one in c])
            centred = s - (w @ s) / w.sum()
            own_sums = [sum(w[i] * centred[i, p[i]] for i in range(n)) for p in itertools.permutations(range(n))]
            sums = (sums[:, None] + np.array(own_sums)).ravel()  # the identity comes first
            whole += w.sum()
            blocks.append({"scores": s.ravel().tolist(), "cluster": c.tolist()})
        p = float(np.mean(sums >= sums[0] - 1e-9))
        if len(sizes) == 1 and not clusters and sizes[0] < 8:
            # which answer each question gets, as a sample that SciPy permutes
            n = sizes[0]
            pairs = stats.permutation_test((np.arange(n),), lambda x: s[np.arange(n), x.astype(int)].sum(), permutation_type="pairings", alternative="greater", n_resamples=np.inf, vectorized=False)
            assert abs(pairs.pvalue - p) < 1e-9, (name, pairs.pvalue, p)
        out.append({"name": name, "blocks": blocks, "p": p, "statistic": float(sums[0] / whole)})
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


dump("statistics.json", {"mcnemar": mcnemar(), "wilson": wilson(), "bootstrap": bootstrap(), "wilcoxon": wilcoxon(), "binomial": binomial(), "permutation": permutation()})
dump("checks.json", verdicts())
