"""The words of the project: plain technical English instead of a private dialect.

Every room may use the words of the list below at most as often as stated, so the counts can only fall. Lower a room's
bound when you rewrite its text. Ordinary uses of the same words do not match: networks that tell classes apart,
twice as fast, a time that settles.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = {
    r"(?:un|re)?(?:teach|teaches|teaching|taught|learnt)": "train, trained",
    r"pictures?": "images",
    r"told": "reported, stated, predicted",
    r"said": "stated, message",
    r"tells(?!(?: \w+){0,3} apart)": "reports, states, predicts",
    r"lone": "standalone",
    r"trained alone|reach(?:es)? alone|subnets alone": "trained from scratch, standalone",
    r"train(?:ed|s)?[ _]apart": "worker pool",
    r"work(?:s|ed|ing)?[ _]out(?! of)": "compute, computed",
    r"(?:held|holds?|holding)(?: \w+){0,3} against": "compared with",
    r"(?:un)?believ(?:e|es|ed|able)": "trust, validated",
    r"anew": "again, from scratch",
    r"(?:un)?settled|settling": "fixed, chosen, resolved",
    r"(?:un)?pric(?:e|es|ed|ing)": "coefficient, weight",
    r"(?:give|gives|gave|given|giving) way": "is relaxed, is raised",
    r"(?:go|goes|going|gone|went)[ _]on": "resumes, continues",
    r"lengthen(?:s|ed|ing)?": "extend",
    r"may not be chosen": "not eligible, infeasible",
    r"(?<!times )(?<!twice )(?<!half )(?<!× )as[ _]fast": "of equal latency",
    r"forms? of (?:the|a|its) graphs?": "graph variant",
    r"visits?|sittings?": "repetitions, sessions",
    r"doubts?": "warnings",
    r"luck|level with": "random search, not significantly different",
}
PATTERN = re.compile("|".join(rf"(?<![a-z])(?:{word})(?![a-z])" for word in WORDS), re.IGNORECASE)
SUFFIXES = {".html", ".js", ".md", ".mjs", ".py", ".sh", ".txt", ".yaml"}
AT_MOST: dict[str, int] = {"edgenas/training": 1}


def files() -> Iterator[Path]:
    for folder in ("edgenas", "export", "tests"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES)
    yield ROOT / "README.md"
    yield from sorted((ROOT / "examples").glob("*.md"))


def room(path: Path) -> str:
    """Return the folder whose bound a file counts towards: edgenas/cli, tests/report, or edgenas for a file in it."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:-1][:2]) or parts[0]


def matches(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r} in {line.strip()[:100]}"
        for number, line in enumerate(lines, start=1)
        for match in PATTERN.finditer(line)
    ]


def places_by_room() -> dict[str, list[str]]:
    places = defaultdict(list)
    for path in files():
        if path != Path(__file__):
            places[room(path)] += matches(path)
    return places


def test_no_room_uses_more_words_of_a_private_dialect() -> None:
    over = {name: found for name, found in places_by_room().items() if len(found) > AT_MOST.get(name, 0)}
    advice = "\n".join(f"  {word}: write {instead}" for word, instead in WORDS.items())
    report = "".join(
        f"\n{name}: {len(found)} places, at most {AT_MOST.get(name, 0)} expected\n" + "\n".join(found)
        for name, found in over.items()
    )
    assert not over, f"{report}\n{advice}"


def test_ordinary_uses_do_not_match() -> None:
    ordinary = "It tells 3 and 8 apart, twice as fast, until its time settles; the loan is foretold. Saidi, cone."
    assert not PATTERN.search(ordinary)
    assert [match[0] for match in PATTERN.finditer("it told us what goes on; trained_run.said")] == [
        "told",
        "goes on",
        "said",
    ]
