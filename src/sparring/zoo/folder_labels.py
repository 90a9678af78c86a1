"""Labels from names of sub-folders, by one rule that must hold for all of them.

In this order: class number (`7`); WordNet id (`n02123045`, for a model of ImageNet's 1,000 classes); class name
(`tabby`, `Egyptian_cat`). Where the model's class names are not known, and there are as many sub-folders as it has
classes, their order: that of the numbers where all are called by number, else the alphabet's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError, nearest
from .class_words import IMAGENET, is_number, named_classes, normalized_name, wordnet_classes

SORTED = "labels: the sorted order"
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "holdout"})
WORDNET = re.compile(r"n[0-9]{8}")


def label_folders(
    root: Path, folders: list[str], class_names: tuple[str, ...] | None, classes: int | None
) -> tuple[dict[str, int], str]:
    """Return the class of each sub-folder, and the rule in words; InputError naming what fits no rule."""
    classes = classes or (len(class_names) if class_names else None)
    names = named_classes(class_names, classes)
    rules: dict[str, Mapping[str, int]] = {
        "class numbers": class_numbers(folders, classes),
        "WordNet ids": wordnet_classes(classes),
        "class names": names,
    }
    for rule, table in rules.items():
        labels = {folder: table[normalized_name(folder)] for folder in folders if normalized_name(folder) in table}
        if len(labels) == len(folders):
            return labels, f"labels: the sub-folders are called by {rule}"
    if all(normalized_name(folder) in SPLITS for folder in folders):
        raise InputError(
            f"{root}: the sub-folders {', '.join(folders)} are parts of a data set and no classes; name one of them: "
            f"folder:{root / folders[-1]}"
        )
    if len(folders) == classes and not names:
        return in_order(folders)
    raise refusal(root, folders, rules, names, classes)


def in_order(folders: list[str]) -> tuple[dict[str, int], str]:
    """Return the place of each sub-folder in their order, and that order in words."""
    numbered = all(is_number(folder) for folder in folders)
    listed = sorted(folders, key=int) if numbered else sorted(folders)
    order = f"{SORTED} of the numbers of the" if numbered else f"{SORTED} of the"
    note = f"{order} {len(listed)} sub-folders, as many as the model has classes: {listed[0]} is class 0"
    return {name: place for place, name in enumerate(listed)}, note


def refusal(
    root: Path,
    folders: list[str],
    rules: Mapping[str, Mapping[str, int]],
    names: Mapping[str, int],
    classes: int | None,
) -> InputError:
    """Return the error that names the first sub-folder that is no class, the class nearest to it and the cure."""
    best = max(rules.values(), key=lambda table: sum(normalized_name(folder) in table for folder in folders))
    stranger = next(folder for folder in folders if normalized_name(folder) not in best)
    known = f"the model's {classes} classes" if classes else "the model, whose number of classes is not known"
    if classes != IMAGENET and all(WORDNET.fullmatch(folder) for folder in folders):
        cure = "WordNet ids are those of ImageNet's 1,000 classes: for a model of these add --classes 1000"
    else:
        cure = (
            "call all sub-folders by class number, by class name or (ImageNet) by WordNet id, have one per class, or "
            "name the classes in the model's order: --class-names FILE"
        )
    near = nearest(normalized_name(stranger), names)
    return InputError(
        f"{root}: the sub-folder {stranger!r} is no class of {known}; {cure}; or run without labels: flat:{root}"
        + (f".{near}" if near else "")
    )


def class_numbers(folders: Iterable[str], classes: int | None) -> dict[str, int]:
    """Return the folders whose names are numbers of a class, with that number."""
    written = {name: int(name) for name in folders if is_number(name)}
    return {name: number for name, number in written.items() if classes is None or number < classes}
