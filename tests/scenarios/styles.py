"""Styles as people ask for them: right answers rewritten in varied words, and how a style is seen in an answer."""

import random
import re
from dataclasses import dataclass
from typing import Callable

from rows import Row

SHOPS = ["Brook & Fern", "Marigold Lane", "Otter & Oak"]

GREETING = [
    "Hello from {s}! {a}", "Hi, this is {s}. {a}", "Welcome to {s}! {a}", "Hello and welcome to {s}. {a}", "Good day from {s}! {a}",
    "Hi there, {s} here. {a}", "Greetings from {s}! {a}", "Thanks for asking {s}! {a}", "{s} says hello! {a}",
    "Hello, you have reached {s}. {a}", "Hi from all of us at {s}! {a}", "A warm hello from {s}. {a}",
    "Hello from {s}! {a} Anything else?", "Welcome to {s}! {a} We are happy to help.", "Hi, {s} here! {a} Have a nice day!",
]

FORMAL = [
    "Dear customer, {a} Kind regards.", "Dear Sir or Madam, {a} Yours faithfully.", "Dear customer, thank you for your inquiry. {a}",
    "Thank you for your inquiry. {a} We remain at your disposal.", "We are pleased to inform you of the following: {a}",
    "Please be advised of the following. {a}", "Kindly note the following. {a}", "Dear Sir or Madam, please be advised: {a}",
    "Dear customer, we are pleased to confirm the following. {a}", "{a} Please do not hesitate to contact us again. Yours sincerely.",
    "With reference to your inquiry: {a} Kind regards.", "Dear customer, kindly note: {a} Yours sincerely.",
    "Thank you for contacting us. {a} We remain at your service.", "Dear Sir or Madam, with reference to your inquiry: {a}",
]
_FORMAL = re.compile(
    r"\bdear (customer|sir|madam)|\bkindly\b|pleased to (inform|confirm|advise)|be advised|at your (disposal|service)"
    r"|yours (faithfully|sincerely)|kind regards|thank you for (your inquiry|contacting us)|reference to your inquiry"
    r"|do not hesitate", re.I
)

SHORT_NUMBER = ["It is {v}.", "{v} in total.", "The answer is {v}.", "That makes {v}.", "You get {v}.", "It comes to {v}.", "Exactly {v}.",
                "The result is {v}.", "{v}, I think.", "So {v}."]
SHORT_TRUE = ["{w}, that is right.", "{w}, that is so.", "{w}, indeed.", "{w}, it is.", "{w}, correct.", "{w}.", "{w}, of course."]
SHORT_FALSE = ["{w}, that is not so.", "{w}, that is wrong.", "{w}, it is not.", "{w}, that is a mistake.", "{w}.", "{w}, not at all."]
SHORT_UNKNOWN = ["Sorry, I have no information on that.", "I have no information about them.", "There is no information on that here.",
                 "I am afraid I have no information.", "We have no information about that shop.", "Sorry, no information."]


@dataclass
class Style:
    """What is asked, how a right answer is rewritten, and how the style is seen."""

    kinds: list[str]
    rewrite: Callable[[Row, str, random.Random], str]
    seen: Callable[[str], bool]


def _one_line(text: str) -> str:
    """The answer as a person would write it into a sentence: without the line of the result."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("####")]
    line = " ".join(lines)
    return line if line.endswith((".", "!", "?")) else line + "."


def _short(row: Row, answer: str, rng: random.Random) -> str:
    if row.family == "story":
        return rng.choice(SHORT_NUMBER).format(v=row.value)
    if row.family == "true_or_false":
        word = re.match(r"\w+", row.reference)
        assert word, row.reference
        return rng.choice(SHORT_TRUE if word[0] in ("True", "Yes") else SHORT_FALSE).format(w=word[0])
    return rng.choice(SHORT_UNKNOWN)


def is_short(text: str) -> bool:
    """One line, one sentence, at most eight words."""
    text = text.strip()
    sentences = [part for part in re.split(r"[.!?](?:\s|$)", text) if part.strip()]
    return bool(text) and "\n" not in text and "####" not in text and len(sentences) == 1 and len(text.split()) <= 8


def greeting(seed: int) -> Style:
    """The shop's name comes first."""
    shop = SHOPS[seed % len(SHOPS)]
    return Style(
        ["fact", "company", "sum", "story"],
        lambda row, answer, rng: rng.choice(GREETING).format(s=shop, a=_one_line(answer)),
        lambda text: shop.lower() in text[:80].lower(),
    )


def short(_seed: int) -> Style:
    """One short sentence, where the starter writes more."""
    return Style(["story", "true_or_false", "no_text"], _short, is_short)


def formal(_seed: int) -> Style:
    """As in a letter."""
    return Style(
        ["fact", "company", "sum", "story"],
        lambda row, answer, rng: rng.choice(FORMAL).format(a=_one_line(answer)),
        lambda text: bool(_FORMAL.search(text)),
    )
