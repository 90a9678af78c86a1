"""The 1,000 classes of ImageNet (ILSVRC 2012): WordNet ids and names, in the order of the models' outputs.

`imagenet_classes.txt` has one line per class: the WordNet id, a tab, the names of the synset in WordNet 3.0.
The two cranes have a second name more, which tells them apart.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path


@cache
def _lines() -> tuple[tuple[str, tuple[str, ...]], ...]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    pairs = (line.split("\t", 1) for line in text.splitlines())
    return tuple((wordnet_id, tuple(names.split(", "))) for wordnet_id, names in pairs)


def wordnet_ids() -> tuple[str, ...]:
    """Return the WordNet id of each class: n01440764, n01443537, ..."""
    return tuple(wordnet_id for wordnet_id, _ in _lines())


def synonyms() -> tuple[tuple[str, ...], ...]:
    """Return all names of each class: ("tench", "Tinca tinca"), ..."""
    return tuple(names for _, names in _lines())


@cache
def class_names() -> tuple[str, ...]:
    """Return one name per class, no two alike: the first that is not the first of another class too."""
    taken = Counter(names[0] for names in synonyms())
    return tuple(next((name for name in names if taken[name] < 2), ", ".join(names)) for names in synonyms())
