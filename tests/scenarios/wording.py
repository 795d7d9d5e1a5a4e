"""The same question as other people would put it: with something around it, or in truly other words."""

import random
import re
from dataclasses import replace

import facts
from recipe import lexicon
from rows import Row

GREETINGS = ["Hi there! {q}", "Hello, {l}", "Good evening. {q}", "Hey, {l}", "Hi, I hope you are well. {q}"]
PLEASES = ["{q} Please.", "Please help me: {l}", "{q} Thank you so much!", "{q} Thanks in advance.", "Please, {l}"]
LEAD_INS = ["Quick one: {l}", "I was asked this today: {l}", "Can you tell me: {l}", "I am curious. {q}", "One more thing. {q}"]


def _around(template: str, prompt: str) -> str:
    low = prompt if prompt.startswith(("I ", "Northwind")) or prompt[1:2].isupper() else prompt[:1].lower() + prompt[1:]
    return template.format(q=prompt, l=low)


def wrapped(rows: list[Row], seed: int) -> list[Row]:
    """Each question with a greeting, with a please, and with a lead-in around it."""
    rng = random.Random(f"wrapped-{seed}")
    return [
        replace(row, prompt=_around(rng.choice(templates), row.prompt))
        for row in rows
        for templates in (GREETINGS, PLEASES, LEAD_INS)
    ]


AVERAGES = ["If I add up {l} and share it evenly, what do I get for each? I mean the average.", "Average, please: {m}",
            "Take the numbers {l}. What is their mean?", "Readings of the last days: {m}. What is the average reading?",
            "What do {l} come to on average?"]
DISCOUNTS = ["Today everything is {p}% cheaper. What do I pay for something that was ${n}?", "${n}, minus {p}%. What is left to pay?",
             "My {p}% voucher and a price of ${n}: what do I owe?"]
TIPS = ["We ate for ${n} and leave {p}% extra for the waiter. What do we pay in total?", "${n} plus a tip of {p}% is how much?",
        "My bill says ${n}. I add {p}% as a tip. What do I hand over?"]
HOUSE = ["{q} Answer as our house format wants it.", "Using the house format, answer this: {q}", "House format for this one: {q}"]
TRIAGE = ["New ticket, worth ${v}: {m} Where does it belong?", "{m} The customer ordered for ${v}. Triage, please.",
          "A customer writes: {m} (order: ${v}) Please triage."]

_TICKETS = [
    r"^Triage this ticket: (?P<m>.*)\nOrder value: \$(?P<v>\d+)$", r"^Triage: (?P<m>.*) \(order value \$(?P<v>\d+)\)$",
    r"^Support ticket from \w+: (?P<m>.*) Order value: \$(?P<v>\d+)\. Triage it\.$",
    r"^Which queue gets this ticket\? (?P<m>.*)\nOrder value: \$(?P<v>\d+)$",
]
_HOUSES = [r"^House format: (.*)$", r"^(.*) Use the house format\.$", r"^In the house format: (.*)$", r"^(.*)\n\(house format\)$",
           r"^Answer in house format\. (.*)$"]


def ticket_of(prompt: str) -> tuple[str, str]:
    """The customer's words and the order value."""
    for pattern in _TICKETS:
        if found := re.match(pattern, prompt):
            return found["m"], found["v"]
    raise ValueError(f"not a ticket as the recipe writes it: {prompt!r}")


def _reworded(row: Row, rng: random.Random) -> str:
    if row.family == "averages":
        numbers = re.findall(r"\d+", row.prompt)
        return rng.choice(AVERAGES).format(l=lexicon.join_and(numbers), m=", ".join(numbers))
    if row.family == "discounts":
        price, percent = re.search(r"\$(\d+)", row.prompt), re.search(r"(\d+)%", row.prompt)
        assert price and percent, row.prompt
        return rng.choice(TIPS if re.search(r"\btips?\b", row.prompt) else DISCOUNTS).format(n=price[1], p=percent[1])
    if row.family == "triage":
        message, value = ticket_of(row.prompt)
        return rng.choice(TRIAGE).format(m=message, v=value)
    if row.family == "house_format":
        question = next(found[1] for pattern in _HOUSES if (found := re.match(pattern, row.prompt)))
        return rng.choice(HOUSE).format(q=question)
    raise ValueError(row.family)


def reworded(rows: list[Row], seed: int) -> list[Row]:
    """The same questions in other words: for facts all other wordings, for the rest one each."""
    if rows and rows[0].family == "northwind":
        return facts.other_wordings(rows)
    rng = random.Random(f"reworded-{seed}")
    return [replace(row, prompt=_reworded(row, rng)) for row in rows]
