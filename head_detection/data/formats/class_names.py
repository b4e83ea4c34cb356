"""Decides which class in labels is the head, by one rule for every format with classes.

``head`` in any letter case, with blanks around it or as ``heads``, is; so is one typing error away
from it (``haed``, ``hesd``, ``headdd``), unless that is a word of its own (``heat``, ``bead``); and
so is a head with words that only say whose it is or what a label is: ``human head``,
``person_head``, ``headBox``, ``head_bbox``. Whatever else begins with it, holds it or resembles it
is another thing: ``headphones``, ``headlight``, ``header``, ``dog head``, ``no head``.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

HEAD: Final = "head"
SHOWN: Final = 40
"""Characters of a name in a note."""
_PLURAL: Final = "heads"
_WORD: Final = re.compile(r"[^\W\d_]+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WHOSE: Final = frozenset(
    {"human", "humans", "person", "persons", "people", "pedestrian", "pedestrians", "crowd"}
    | {"man", "men", "woman", "women", "child", "children", "kid", "boy", "girl", "adult"}
    | {"male", "female", "passenger", "driver", "rider", "worker", "student", "player"}
)
_WHAT: Final = frozenset(
    {"box", "boxes", "bbox", "bounding", "rect", "rectangle", "label", "class", "object"}
    | {"detection", "detections", "the", "of", "visible", "occluded", "partial", "small", "large"}
    | {"front", "back", "side"}
)
_SILENT: Final = _WHOSE | _WHAT
"""Words that do not change the meaning of head."""
_REAL_WORDS: Final = frozenset(
    {"ahead", "bead", "dead", "had", "heady", "heal", "heap", "hear", "heard", "heat", "heed"}
    | {"held", "herd", "lead", "mead", "read"}
)
"""English words that are one letter away."""
_SHOWN_NAMES: Final = 8


def means_head(name: str) -> bool:
    """Tell whether a class is the head, by the rule of this module.

    Example:
        >>> [means_head(name) for name in ("haed", "headdd w", "heas", "hand", "helmet")]
        [True, True, True, False, False]
        >>> [means_head(name) for name in ("Head ", "person_head", "headphones", "dog head")]
        [True, True, False, False]
    """
    text = _HUMP.sub(" ", unicodedata.normalize("NFKC", name))
    words = [word.lower() for word in _WORD.findall(text)]
    telling = {word for word in words if len(word) > 1 and word not in _SILENT}
    return bool(telling) and all(
        word in (HEAD, _PLURAL) or _is_typing_error(word) for word in telling
    )


def choose_heads(names: Iterable[str]) -> frozenset[str]:
    """Return the names that mean head, or the only name; empty if it is not clear."""
    every = frozenset(names)
    return frozenset(filter(means_head, every)) or (every if len(every) == 1 else frozenset())


def other_than_head(name: str) -> bool:
    """Tell whether a class that counts as heads is not called ``head``, so that a note names it."""
    return name.strip().lower() != HEAD


def listed(names: Iterable[str] | Mapping[object, str]) -> str:
    """Return the first few names, for an error.

    Example:
        >>> listed(["cat", "dog"])
        'cat, dog'
    """
    values = list(names.values() if isinstance(names, Mapping) else names)
    more = f" and {len(values) - _SHOWN_NAMES} more" if len(values) > _SHOWN_NAMES else ""
    shown = (value if value.isprintable() else repr(value) for value in values[:_SHOWN_NAMES])
    return ", ".join(text[:SHOWN] for text in shown) + more


def _is_typing_error(word: str) -> bool:
    if word in _REAL_WORDS:
        return False
    once = "".join(letter for letter, _ in groupby(word))
    return once == HEAD or sorted(word) == sorted(HEAD) or _is_one_letter_away(word)


def _is_one_letter_away(word: str) -> bool:
    """Tell whether a word differs by one replaced, additional or missing letter."""
    if abs(len(word) - len(HEAD)) > 1:
        return False
    short, long = sorted((word, HEAD), key=len)
    if len(short) == len(long):
        return sum(a != b for a, b in zip(word, HEAD, strict=True)) <= 1
    return any(short == long[:place] + long[place + 1 :] for place in range(len(long)))
