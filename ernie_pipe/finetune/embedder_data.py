"""Examples for the embedder: sentences that belong together or not, what their labels mean, what is learnt from them.

In: files or Python data with pairs and a label, pairs alone, or triplets. Out: `Sentences`, their `Kind`, and for an
objective the sentences with their target. All of it is decided by the data alone and said aloud; nothing needs torch.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import (
    Columns,
    Source,
    Tally,
    is_blank,
    is_number,
    read_texts,
    records_of,
    text_of,
    told,
)
from ernie_pipe.finetune.files import (
    LABEL_COLUMNS,
    PAIR_COLUMNS,
    TRIPLET_COLUMNS,
    Records,
    has_header,
    read_records,
    table_form,
)
from ernie_pipe.finetune.lines import read_lines
from ernie_pipe.finetune.pairs import LabelledPair, labelled_pairs, pair_columns, read_pair_inputs

log = logging.getLogger(__name__)

Kind = Literal["graded", "binary", "classes", "pairs", "triplets"]
Objective = Literal["classification", "cosine", "cosent", "ranking", "triplet"]

CHOSEN: dict[Kind, Objective] = {
    "classes": "classification",
    "graded": "cosine",
    "binary": "cosine",
    "pairs": "ranking",
    "triplets": "triplet",
}
"""The objective for each kind of data, when the settings name none."""
MEANING: dict[Kind, str] = {
    "classes": "pairs with a class",
    "graded": "graded pairs",
    "binary": "pairs labelled 0 and 1",
    "pairs": "pairs that belong together",
    "triplets": "triplets",
}
LIKENESS = {
    **dict.fromkeys(("entailment", "蕴含", "蕴涵"), 1.0),
    **dict.fromkeys(("neutral", "中立", "中性"), 0.5),
    **dict.fromkeys(("contradiction", "矛盾"), 0.0),
}
"""How alike the two sentences of an NLI class are: by it NLI pairs are scored, and trained on by cosine."""
USUAL = Columns()
"""Columns that are found by their names, or by what they hold."""
_LABEL_VALUES = 20


@dataclass(frozen=True)
class Sentences:
    """Two sentences, with a label or None, or three: a text, one that belongs to it, one that does not."""

    texts: tuple[str, ...]
    label: str | None
    where: str

    @property
    def text(self) -> str:
        """All of them as one string, by which equal examples are found."""
        return "\t".join(self.texts)


def read_sentences(source: Source, name: str = "data", given: Columns = USUAL) -> list[Sentences]:
    """Read labelled pairs, pairs alone, or triplets, whichever the columns are; empty ones are skipped and counted.

    `given` names columns that are called otherwise than usual.

    `InputError`: no such columns, a label that is none or several, nothing left.
    """
    records = records_of(source, name, given)
    columns, labelled = _columns(records, given)
    if labelled:
        return [_labelled(pair) for pair in labelled_pairs(records, given)]
    tally, examples = Tally(), []
    for row in records.rows:
        texts = tuple(text_of(row, column) for column in columns)
        if any(map(is_blank, texts)):
            tally.add("an empty text, skipped", row.where)
        else:
            examples.append(Sentences(texts, None, row.where))
    named = ", ".join(f"`{column}`" for column in columns)
    return told(records.name, f"{records.form}, texts in {named}, no label", examples, tally)


def _labelled(pair: LabelledPair) -> Sentences:
    if not isinstance(pair.label, str):
        raise InputError(f"{pair.where}: several labels: give each pair one")
    return Sentences((pair.first, pair.second), pair.label, pair.where)


def _columns(records: Records, given: Columns) -> tuple[tuple[str, ...], bool]:
    """Return the columns with texts, and whether a label stands beside them."""
    for names in TRIPLET_COLUMNS:
        if not given.text and set(names) <= set(records.columns):
            return names, False
    named = records.header or given.text or given.label
    if not named and len(records.columns) == 3 and not _is_label(records, records.columns[-1]):
        return records.columns, False
    texts = pair_columns(records, given)
    if given.label or records.header:
        return texts, bool(given.label) or any(name in records.columns for name in LABEL_COLUMNS)
    return texts, len(records.columns) > 2


def _is_label(records: Records, column: str) -> bool:
    """Tell numbers, NLI names and the few values of a large table from texts."""
    values = [row.values[column].strip() for row in records.rows]
    different = set(values)
    few = len(different) <= _LABEL_VALUES and 2 * len(different) <= len(values)
    return few or all(is_number(value) or value.lower() in LIKENESS for value in values if value not in ("", "-"))


def read_inputs(path: str | Path, given: Columns = USUAL) -> list[str] | list[tuple[str, str]]:
    """Read what is to be answered for: pairs where there are two columns of texts, else texts; empty ones too."""
    lines = read_lines(path)
    form = table_form(lines)
    if form == "CSV":
        # A sentence with a comma is no pair: only a header makes a table of it.
        first = next(line for _, line in lines if line.strip())
        if not has_header(first.split(","), given.named):
            return read_texts(path)
    records = read_records(path, given.named)
    paired = given.second or not records.header or any(set(names) <= set(records.columns) for names in PAIR_COLUMNS)
    return read_pair_inputs(path, given) if paired else read_texts(path)


def kind_of(examples: Sequence[Sentences]) -> Kind:
    """Return what these examples are; those of one source are all of one kind."""
    if len(examples[0].texts) == 3:
        return "triplets"
    labels = {cast(str, example.label) for example in examples}
    if examples[0].label is None:
        return "pairs"
    if all(is_number(label) for label in labels):
        return "binary" if {float(label) for label in labels} <= {0.0, 1.0} else "graded"
    return "classes"


def likeness(examples: Sequence[Sentences]) -> list[float]:
    """Return how alike each pair is said to be: its number, or its NLI class's; `InputError` for other classes."""
    return [_value(example) for example in examples]


def _value(example: Sentences) -> float:
    label = cast(str, example.label)
    if is_number(label):
        return float(label)
    if label.lower() in LIKENESS:
        return LIKENESS[label.lower()]
    raise InputError(
        f"{example.where}: label `{label}` says not how alike two sentences are: "
        "give numbers, or entailment, neutral and contradiction"
    )


def check_scorable(examples: Sequence[Sentences]) -> None:
    """Refuse data by which vectors cannot be judged: classes without an order, one label for all."""
    if kind_of(examples) in ("pairs", "triplets"):
        return
    found = likeness(examples)
    if min(found) == max(found):
        raise InputError(f"{examples[0].where}: every label is `{examples[0].label}`: there is nothing to compare")


def choose(wanted: str, examples: Sequence[Sentences]) -> Objective:
    """Return the objective, for `auto` by the data, and say it; `InputError` when the data is not for it."""
    kind = kind_of(examples)
    objective = CHOSEN[kind] if wanted == "auto" else cast(Objective, wanted)
    fitting = {
        "classification": ("classes", "binary", "graded"),
        "cosine": ("graded", "binary", "classes"),
        "cosent": ("graded", "binary", "classes"),
        "ranking": ("pairs", "triplets", "binary", "classes"),
        "triplet": ("triplets",),
    }
    if kind not in fitting[objective]:
        raise InputError(
            f"{examples[0].where}: {MEANING[kind]} are not for the objective {objective}: "
            f"leave it at auto, which takes {CHOSEN[kind]}"
        )
    log.info("objective: %s, for %s", objective, MEANING[kind])
    return objective


def targets(
    objective: Objective, examples: Sequence[Sentences], labels: Sequence[str], *, aloud: bool = False
) -> list[tuple[Sentences, float]]:
    """Return the examples to train on, each with its target: a class id, a cosine from 0 to 1, or 0 for nothing.

    In-batch negatives need pairs that belong together: others are left out, and counted where `aloud`. `InputError`:
    none is left, or all are equally alike.
    """
    if objective == "classification":
        ids = {label: float(i) for i, label in enumerate(labels)}
        return [(example, ids[cast(str, example.label)]) for example in examples]
    if objective in ("cosine", "cosent"):
        return _scaled(examples, aloud and objective == "cosine")
    kind = kind_of(examples)
    if kind in ("pairs", "triplets"):
        return [(example, 0.0) for example in examples]
    tally = Tally()
    chosen = []
    for example in examples:
        if _value(example) == 1.0:
            chosen.append((example, 0.0))
        else:
            tally.add("a pair not alike, left out: in-batch negatives need those that are", example.where)
    if aloud:
        tally.report("train")
    if not chosen:
        raise InputError(f"{examples[0].where}: no pair is alike: label those that are 1 or entailment")
    return chosen


def _scaled(examples: Sequence[Sentences], aloud: bool) -> list[tuple[Sentences, float]]:
    values = likeness(examples)
    if min(values) == max(values):
        raise InputError(
            f"{examples[0].where}: every label is `{examples[0].label}`: there is nothing to compare; "
            "pairs that all belong together are for the objective ranking"
        )
    low, high = min(0.0, *values), max(1.0, *values)
    if aloud and (low, high) != (0.0, 1.0):
        log.info("labels from %g to %g are cosines from 0 to 1", low, high)
    return [(example, (value - low) / (high - low)) for example, value in zip(examples, values, strict=True)]
