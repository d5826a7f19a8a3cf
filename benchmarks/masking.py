"""Masking of whole units, tokens a second on one core: ours, transformers' collator, and jieba run again each time.

    python benchmarks/masking.py --data PASSAGES [--tokens 262144] [--similar TSV]

All take the same passages, already in memory. Ours: `mask_units` on packed micro-batches with levels mixed; beside it
n-grams and spans of words, and with --similar n-grams whose words are replaced by those of the table (MacBERT). (a)
transformers' `DataCollatorForLanguageModeling` with whole words: it takes touching offsets as one word, which in
Chinese masks whole clauses, so it is given offsets with a gap before each of our words, and works; its padding is
left out of the time, and tokens of padding count for nothing. Its masking of single tokens is shown beside. (b) What
is done today: jieba cuts the text of the passage again for each epoch, words are shuffled and taken to 15 % of the
tokens, 80/10/10, in Python. Five interleaved rounds, by the processor time of this one thread, so that other work on
the machine counts for little; median, least and most. The last line is JSON.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.masking import LENGTHS, MaskingRule, mask_units, similar
from ernie_pipe.pretrain.batch import pack
from ernie_pipe.pretrain.plan import Slots
from ernie_pipe.tasks import Example, PackedBatch
from ernie_pipe.text.encode import SpecialIds, load_encoder
from ernie_pipe.text.passages import WORD_START

ROUNDS = 5
RULE = MaskingRule({"basic": 0.2, "phrase": 0.4, "entity": 0.4})
MICRO_BATCH = 32_768
# The peers' usual batch; the slower ones take a part of the passages.
SEQUENCES = 32
STRATEGIES = {"ours": RULE} | {
    f"ours, {name}": MaskingRule({"word": 1.0}, lengths=LENGTHS[name]) for name in ("ngram", "span")
}
SHARE = {"transformers, words": 4, "transformers, tokens": 1, "jieba again": 16}


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="PASSAGES", help="folder of `ernie-pipe encode`")
    parser.add_argument("--tokens", type=int, default=1 << 18, help="tokens to mask, taken from the front")
    parser.add_argument("--similar", metavar="TSV", help="table of similar words, measured with n-grams")
    args = parser.parse_args()
    try:
        show(measure(args.data, args.tokens, args.similar))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    return 0


def measure(folder: str, tokens: int, table: str | None = None) -> dict[str, list[float]]:
    """Return the tokens a second of each contender, a number a round."""
    passages = Passages(folder)
    if not len(passages):
        raise InputError(f"{folder}: no passages there")
    encoder = load_encoder(f"{folder}/tokenizer")
    special = SpecialIds.of(encoder)
    rows = [passages.get(number)[:2] for number in range(len(passages))]
    taken = int(np.searchsorted(np.cumsum([len(ids) for ids, _ in rows]), tokens)) + 1
    rows = rows[:taken]
    names = {number: token for token, number in encoder.vocab.items()}
    rules = dict(STRATEGIES)
    if table is not None:
        rules["ours, similar"] = replace(rules["ours, ngram"], similar=similar.load(table, encoder))
    contenders = {
        **{name: ours(rows, special, rule) for name, rule in rules.items()},
        "transformers, words": collator(f"{folder}/tokenizer", part(rows, "transformers, words"), special, words=True),
        "transformers, tokens": collator(f"{folder}/tokenizer", rows, special, words=False),
        "jieba again": jieba_again(part(rows, "jieba again"), names, special),
    }
    for run in contenders.values():
        run()
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            began = time.process_time()
            done = run()
            speeds[name].append(done / (time.process_time() - began))
    return speeds


def part(rows: Sequence[Any], name: str) -> Sequence[Any]:
    """Return every so manieth passage."""
    return rows[:: SHARE[name]]


def ours(rows: Sequence[Any], special: SpecialIds, rule: MaskingRule) -> Callable[[], int]:
    """Mask packed micro-batches."""
    per_batch = max(1, round(MICRO_BATCH * len(rows) / sum(len(ids) + 2 for ids, _ in rows)))
    packed: list[PackedBatch] = []
    for first in range(0, len(rows), per_batch):
        numbers = np.arange(first, min(first + per_batch, len(rows)))
        slots = Slots(np.zeros(len(numbers), int), numbers, draws.key(1, numbers))
        packed.append(pack([Example([rows[number]]) for number in numbers.tolist()], slots, special))
    replacements = np.setdiff1d(np.arange(special.size), special.all)

    def run() -> int:
        for batch in packed:
            mask_units(
                batch.input_ids, batch.unit_bits, batch.maskable, batch.sequence, batch.keys,
                rule=rule, mask_id=special.mask, replacements=replacements,
            )  # fmt: skip
        return sum(len(batch.input_ids) for batch in packed)

    return run


def collator(folder: str, rows: Sequence[Any], special: SpecialIds, *, words: bool) -> Callable[[], int]:
    """Mask padded batches as transformers' collator does, once they are tensors."""
    import torch
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    masks = DataCollatorForLanguageModeling(
        tokenizer, whole_word_mask=words, mask_replace_prob=1.0 if words else 0.8,
        random_replace_prob=0.0 if words else 0.1,
    )  # fmt: skip
    batches = [padded(rows[first : first + SEQUENCES], special) for first in range(0, len(rows), SEQUENCES)]
    tensors = [tuple(map(torch.from_numpy, batch)) for batch in batches]

    def run() -> int:
        for ids, hidden, offsets in tensors:
            masks.torch_mask_tokens(ids.clone(), special_tokens_mask=hidden, offset_mapping=offsets)
        return sum(len(ids) + 2 for ids, _ in rows)

    return run


def padded(rows: Sequence[Any], special: SpecialIds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, special-token mask and offsets of a batch; a gap stands before each word."""
    longest = max(len(ids) for ids, _ in rows) + 2
    ids = np.full((len(rows), longest), special.pad)
    hidden = np.ones((len(rows), longest), np.int64)
    offsets = np.zeros((len(rows), longest, 2), np.int64)
    for row, (tokens, bits) in enumerate(rows):
        end = len(tokens) + 1
        ids[row, 0], ids[row, 1:end], ids[row, end] = special.cls, tokens, special.sep
        hidden[row, 1:end] = 0
        starts = np.arange(len(tokens)) + np.cumsum(bits & WORD_START > 0)
        offsets[row, 1:end] = np.stack([starts, starts + 1], axis=1)
    return ids, hidden, offsets


def jieba_again(rows: Sequence[Any], names: dict[int, str], special: SpecialIds) -> Callable[[], int]:
    """Cut the text of every passage with jieba, then mask whole words one by one."""
    import jieba

    jieba.setLogLevel(60)
    jieba.initialize()
    tokens = [[names[number].removeprefix("##") for number in ids.tolist()] for ids, _ in rows]
    draw = random.Random(1)

    def run() -> int:
        for listed, (ids, _) in zip(tokens, rows, strict=True):
            mask_words(listed, ids.tolist(), special, draw)
        return sum(len(ids) + 2 for ids, _ in rows)

    def mask_words(listed: list[str], ids: list[int], special: SpecialIds, draw: random.Random) -> None:
        """Cut the tokens into jieba's words and hide whole words of `ids` in place, up to 15 % of the tokens."""
        starts, at = set(), 0
        for word in jieba.lcut("".join(listed)):
            starts.add(at)
            at += len(word)
        words: list[list[int]] = []
        at = 0
        for number, token in enumerate(listed):
            if at in starts or not words:
                words.append([])
            words[-1].append(number)
            at += len(token)
        draw.shuffle(words)
        budget, taken = max(1, round(0.15 * len(ids))), 0
        for word in words:
            if taken + len(word) > budget:
                continue
            taken += len(word)
            for number in word:
                action = draw.random()
                if action < 0.8:
                    ids[number] = special.mask
                elif action < 0.9:
                    ids[number] = draw.randrange(special.size)

    return run


def show(speeds: dict[str, list[float]]) -> None:
    """Print the table and the line of JSON."""
    print(f"{'':<22}{'M tokens/s':>12}{'least':>9}{'most':>9}{'ours is':>11}{'least':>9}{'most':>9}")
    ratios = {}
    for name, values in speeds.items():
        ratios[name] = [mine / other for mine, other in zip(speeds["ours"], values, strict=True)]
        row = "".join(f"{value / 1e6:>{width}.3f}" for value, width in zip(spread(values), (12, 9, 9), strict=True))
        times = "".join(f"{value:>{width}.1f}" for value, width in zip(spread(ratios[name]), (10, 8, 8), strict=True))
        print(f"{name:<22}{row} {times} ×")
    line = {
        "mtok_per_s_core": round(statistics.median(speeds["ours"]) / 1e6, 2),
        **{
            f"{name.removeprefix('ours, ')}_mtok_per_s_core": round(statistics.median(values) / 1e6, 2)
            for name, values in speeds.items()
            if name.startswith("ours, ")
        },
        "ratio_to_transformers": round(statistics.median(ratios["transformers, words"]), 1),
        "ratio_to_jieba_masking": round(statistics.median(ratios["jieba again"]), 1),
    }
    print(json.dumps(line))


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    sys.exit(main())
