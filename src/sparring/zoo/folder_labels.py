"""Labels from names of sub-folders, by one rule that must hold for all of them.

In this order: class number (`7`); WordNet id (`n02123045`, for a model of ImageNet's 1,000 classes); class
name (`tabby`, `Egyptian_cat`); sorted order, if there are as many sub-folders as the model has classes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from . import imagenet_classes

IMAGENET = 1000
SORTED = "labels: the sorted order"


def label_folders(
    root: Path, folders: list[str], class_names: tuple[str, ...] | None, classes: int | None
) -> tuple[dict[str, int], str]:
    """Return the class of each sub-folder, and the rule in words; InputError naming what fits no rule."""
    classes = classes or (len(class_names) if class_names else None)
    rules: dict[str, Mapping[str, int]] = {
        "class numbers": class_numbers(folders, classes),
        "WordNet ids": wordnet_classes(classes),
        "class names": named_classes(class_names, classes),
    }
    for rule, table in rules.items():
        labels = {folder: table[normalized_name(folder)] for folder in folders if normalized_name(folder) in table}
        if len(labels) == len(folders):
            return labels, f"labels: the sub-folders are called by {rule}"
    if len(folders) == classes:
        note = f"{SORTED} of the {classes} sub-folders, as many as the model has classes"
        return dict(zip(sorted(folders), range(classes), strict=True)), note
    best = max(rules.values(), key=lambda table: sum(normalized_name(folder) in table for folder in folders))
    stranger = next(folder for folder in folders if normalized_name(folder) not in best)
    known = f"the model's {classes} classes" if classes else "the model, whose number of classes is not known"
    raise InputError(
        f"{root}: the sub-folder {stranger!r} is no class of {known}; call all sub-folders by class number, "
        f"by class name or (ImageNet) by WordNet id, have one per class, or run without labels: flat:{root}"
    )


def normalized_name(name: str) -> str:
    """Return the name as names are compared: without case, and with spaces for `_` and `-`."""
    return " ".join(re.sub(r"[_\-\s]+", " ", name.casefold()).split())


def class_numbers(folders: Iterable[str], classes: int | None) -> dict[str, int]:
    """Return the folders whose names are numbers of a class, with that number."""
    written = {name: int(name) for name in folders if re.fullmatch(r"[0-9]{1,9}", name)}
    return {name: number for name, number in written.items() if classes is None or number < classes}


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
