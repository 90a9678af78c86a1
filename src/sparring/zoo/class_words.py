"""What words mean which class: names, ImageNet's synonyms and WordNet ids, compared without case."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from ..text import storable
from . import imagenet_classes

IMAGENET = 1000


def normalized_name(name: str) -> str:
    """Return the name as names are compared: in Unicode's composed form, without case, with spaces for `_` and `-`."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", storable(name)).casefold())
    return " ".join(re.sub(r"[_\-\s]+", " ", plain).split())


def is_number(word: str) -> bool:
    """Tell whether the word is a whole number that a class could have."""
    return re.fullmatch(r"[0-9]{1,9}", word.strip()) is not None


def wordnet_classes(classes: int | None) -> dict[str, int]:
    """Return the WordNet ids of ImageNet's classes, for a model that has as many."""
    if classes != IMAGENET:
        return {}
    return {name: place for place, name in enumerate(imagenet_classes.wordnet_ids())}


def named_classes(class_names: tuple[str, ...] | None, classes: int | None) -> dict[str, int]:
    """Return class names, and synonyms for ImageNet, with their class; words that mean two classes are left out."""
    if class_names is None and classes == IMAGENET:
        class_names = imagenet_classes.class_names()
    listed = [(name,) for name in class_names or ()]
    more = imagenet_classes.synonyms() if class_names == imagenet_classes.class_names() else ()
    full = [(", ".join(names),) for names in more]
    return unambiguous_names(more) | unambiguous_names(full) | unambiguous_names(listed)


def unambiguous_names(names: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """Return the class of each word that means one class only."""
    meanings: defaultdict[str, set[int]] = defaultdict(set)
    for place, words in enumerate(names):
        for word in words:
            meanings[normalized_name(word)].add(place)
    return {word: places.pop() for word, places in meanings.items() if len(places) == 1}
