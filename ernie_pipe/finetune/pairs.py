"""Two texts with a label: NLI, paraphrase, query and title, graded similarity; from files or Python data.

Columns are found by name, and in a table without a header by what they hold: the label stands first or last, and the
two others with the most Chinese, or words, are the texts, in their order. Where that is not clear the table is refused.
So LCQMC (text, text, label), the Chinese STS-B
(id || text || text || score) and the jsonl of OCNLI and CLUE are read as they are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import (
    FOUND,
    Columns,
    Label,
    Source,
    Tally,
    check_guess,
    column_of,
    is_blank,
    is_number,
    label_of,
    records_of,
    text_of,
    told,
    variety,
)
from ernie_pipe.finetune.files import DELIMITERS, LABEL_COLUMNS, PAIR_COLUMNS, Record, Records
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

NO_LABEL = "-"
"""What NLI sets write where the annotators did not agree."""
_WAY_OUT = "say which by --set text_column='column 1' --set second_column=… --set label_column=…, or by a first line"
_CLEARLY = 2


@dataclass(frozen=True)
class LabelledPair:
    """Two texts and their label; `where` is its file and line."""

    first: str
    second: str
    label: Label
    where: str

    @property
    def text(self) -> str:
        """Both texts as one string, by which equal pairs are found."""
        return f"{self.first}\t{self.second}"


def read_pairs(source: Source, name: str = "data", columns: Columns = FOUND) -> list[LabelledPair]:
    """Read two texts with a label each: named columns, or a table without a header.

    Pairs with an empty text and pairs without an agreed label (`-`, and None in Python data) are skipped and
    counted. `InputError`: a column that is not there, a record without a label, nothing left.
    """
    return labelled_pairs(records_of(source, name, columns), columns)


def labelled_pairs(records: Records, columns: Columns = FOUND) -> list[LabelledPair]:
    """Take two texts with a label each from records, as `read_pairs` does from their source."""
    first_column, second_column = pair_columns(records, columns)
    if columns.label or records.header:
        label_column = column_of(records, [columns.label] if columns.label else LABEL_COLUMNS, "label")
    else:
        label_column = _label_column(records, (first_column, second_column))
    if label_column in (first_column, second_column):
        raise InputError(f"{records.name}: `{label_column}` is to be a text and the label: name another label_column")
    tally, examples = Tally(), []
    for row in records.rows:
        first, second = text_of(row, first_column), text_of(row, second_column)
        given = row.values.get(label_column)
        if given == NO_LABEL or (given is None and records.form == "Python"):
            tally.add("a pair without an agreed label, skipped", row.where)
            continue
        label = label_of(row, label_column)
        if is_blank(first) or is_blank(second):
            tally.add("a pair with an empty text, skipped", row.where)
        else:
            examples.append(LabelledPair(first, second, label, row.where))
    form = f"{records.form}, texts in `{first_column}` and `{second_column}`, label in `{label_column}`"
    return told(records.name, form, examples, tally)


def read_pair_inputs(path: str | Path, columns: Columns = FOUND) -> list[tuple[str, str]]:
    """Read the pairs to predict, those with an empty text too; a label column is left aside."""
    records = records_of(path, str(path), columns)
    first, second = pair_columns(records, columns)
    form = f"{records.form}, texts in `{first}` and `{second}`"
    log.info("%s: %s, %s", path, form, many(len(records.rows), "pairs"))
    return [(text_of(row, first), text_of(row, second)) for row in records.rows]


def pair_columns(records: Records, columns: Columns) -> tuple[str, str]:
    """Return the columns of the two texts, by the names given, by known names, or by what they hold."""
    if columns.text or columns.second:
        if not (columns.text and columns.second):
            raise InputError("text_column and second_column: name both, or neither")
        if columns.text == columns.second:
            raise InputError(f"text_column and second_column are both `{columns.text}`: name two columns")
        return column_of(records, [columns.text], "text"), column_of(records, [columns.second], "second text")
    if records.header:
        for first, second in PAIR_COLUMNS:
            if first in records.columns and second in records.columns:
                return first, second
        raise InputError(
            f"{records.name}: no two texts among {', '.join(records.columns)}: name them text_a and text_b, "
            "or say which by --set text_column=… --set second_column=…"
        )
    if len(records.columns) < 2:
        forms = " or ".join("tabs" if form == "TSV" else f"`{mark}`" for form, mark in DELIMITERS.items())
        raise InputError(f"{records.name}: one column: a pair needs two texts, set apart by {forms}")
    label = _likely_label(records) if len(records.columns) > 2 else None
    others = [column for column in records.columns if column != label]
    # What stands in every line, as a source does, is no text of a pair.
    changing = [column for column in others if len(records.rows) > 2 and variety(records.rows, column)[0] > 1]
    others = changing if len(changing) > 1 else others
    amounts = {column: _amount(records.rows, column) for column in others}
    ranked = sorted(others, key=lambda column: amounts[column], reverse=True)
    # A label that was not seen as one holds little text; ids and sources hold no Chinese and no spaces.
    if len(ranked) > 2 and _alike(amounts[ranked[2]], amounts[ranked[1]]) and label is not None:
        columns_alike = ", ".join(column for column in others if column in ranked[:3])
        raise InputError(f"{records.name}: no header, and {columns_alike} may all be texts: {_WAY_OUT}")
    first, second = (column for column in others if column in ranked[:2])
    return first, second


Amount = tuple[int, int, int]
"""How much text there is: characters of Chinese, words, characters."""


def _amount(rows: Sequence[Record], column: str) -> Amount:
    values = [row.values[column] for row in rows[:1000]]
    chinese = sum(character >= "\u2e80" for value in values for character in value)
    return chinese, sum(len(value.split()) for value in values), sum(map(len, values))


def _alike(less: Amount, more: Amount) -> bool:
    """Tell whether two columns hold like amounts of text: neither has twice as much Chinese, or words, or letters."""
    for one, other in zip(less, more, strict=True):
        if other:
            return other < _CLEARLY * one
    return True


def _likely_label(records: Records) -> str | None:
    """Return the first or last column when it holds few values again and again, or numbers that do not count lines.

    Of two such the one with numbers, then the one with fewer values, then the last.
    """
    ends = [column for column in (records.columns[-1], records.columns[0]) if _may_be_label(records, column)]
    if not ends:
        return None
    return min(ends, key=lambda column: (not _numbers(records, column), variety(records.rows, column)[0]))


def _may_be_label(records: Records, column: str) -> bool:
    count, different = len(records.rows), variety(records.rows, column)[0]
    if count > 2 and different == 1:
        return False
    if 2 * different <= count:
        return True
    values = [row.values[column] for row in records.rows]
    counted = all(map(str.isdecimal, values)) and different == count and count > 2
    return _numbers(records, column) and not counted


def _numbers(records: Records, column: str) -> bool:
    return all(is_number(row.values[column].strip()) for row in records.rows)


def _label_column(records: Records, texts: tuple[str, str]) -> str:
    """Return the label's column in a table of pairs without a header: the first or the last that is no text."""
    label = _likely_label(records)
    ends = [column for column in (records.columns[-1], records.columns[0]) if column not in texts]
    if not ends:
        raise InputError(
            f"{records.name}: no header and no column for a label beside two texts: "
            "add one, or a first line that names the columns text_a, text_b and label"
        )
    if label not in ends:
        label = min(ends, key=lambda column: variety(records.rows, column))
    check_guess(records, label, "text_a, text_b and label")
    return label
