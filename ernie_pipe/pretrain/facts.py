"""Fact cloze in the loop: the facts of `evaluate.facts`, asked of the model that is being trained.

Each rank asks its share; a figure is the same whatever their number. Shapes: `M` masked tokens, `V` vocabulary.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MASKING, MultiTaskModel
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.pretrain.world import to_device
from ernie_pipe.report.cloze import Cloze, Predict, read_facts
from ernie_pipe.text.encode import Encoder, SpecialIds
from ernie_pipe.text.lexicon_files import read_lexicons

NAMES = ("cloze/mrr", "cloze/first_of_20")


class FactCloze:
    """The facts of a run, encoded once; `measure` ranks them. `InputError` says what is wrong with the files.

    `skipped`: facts whose answer the vocabulary cannot write; `longest`: tokens of the longest question.
    """

    def __init__(self, settings: PretrainSettings, corpus: Encoder) -> None:
        wanted = settings.evaluate
        assert wanted.facts is not None
        assert wanted.relations is not None
        lexicon = read_lexicons([wanted.lexicon]).entities if wanted.lexicon else {}
        facts = read_facts(Path(wanted.facts), Path(wanted.relations))
        self._special = SpecialIds.of(corpus)
        self._cloze = Cloze(facts, lexicon, lambda text: corpus.encode(text).ids.tolist(), self._special)
        self.skipped, self.longest = self._cloze.skipped, self._cloze.longest
        if not len(self._cloze):
            raise InputError(
                f"{wanted.facts}: none of {len(facts)} facts can be asked: the vocabulary cannot write their answers"
            )

    def __len__(self) -> int:
        return len(self._cloze)

    def measure(self, model: MultiTaskModel, accelerator: Accelerator) -> dict[str, float]:
        """Return the mean reciprocal rank and the share of first places among 20 over the facts of all ranks.

        The model must be in evaluation mode.
        """
        mine = range(accelerator.process_index, len(self), accelerator.num_processes)
        with accelerator.autocast():
            ranks, hits = self._cloze.ranks(self._predictor(model, accelerator.device), mine)
        sums = torch.tensor([(1 / ranks).sum(), hits.sum()], dtype=torch.float64, device=accelerator.device)
        totals = accelerator.reduce(sums, "sum").tolist()
        return {name: total / len(self) for name, total in zip(NAMES, totals, strict=True)}

    def _predictor(self, model: MultiTaskModel, device: torch.device) -> Predict:
        mask = self._special.mask

        @torch.no_grad()
        def predict(sequences: list[list[int]]) -> torch.Tensor:
            batch = to_device(_pack(sequences), device)
            positions = torch.nonzero(batch["input_ids"] == mask)[:, 0]
            return model.logits(MASKING, model.hidden(batch), positions).float().log_softmax(-1)

        return predict


def _pack(sequences: list[list[int]]) -> dict[str, Any]:
    """Lay sequences out one after another, all of task 0 and segment 0: knowledge masking as fine-tuning sees it."""
    lengths = [len(sequence) for sequence in sequences]
    ids = torch.tensor([token for sequence in sequences for token in sequence])
    zeros = torch.zeros_like(ids)
    return {
        "input_ids": ids,
        "position_ids": torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
        "token_type_ids": zeros,
        "task_type_ids": zeros,
        "starts": torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32),
        "longest": max(lengths),
    }
