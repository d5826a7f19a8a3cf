"""Everything a run needs but the model: checked once before processes are launched, and built again in each.

No torch here: a mistake is told in a second.
"""

import logging
import os
from dataclasses import dataclass
from itertools import accumulate

from ernie_pipe.config import nearest
from ernie_pipe.corpus.manifest import Manifest
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.batch import BatchBuilder
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.pretrain.run import corpus_encoder
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.tasks import Task
from ernie_pipe.text.encode import Encoder, SpecialIds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Passages, plan and batch builder of a run, and the tokenizer that made the passages."""

    passages: Passages
    plan: Plan
    builder: BatchBuilder
    corpus: Encoder

    @property
    def longest(self) -> int:
        """Tokens of the longest passage of any stage, without special tokens."""
        return max(passages.longest for passages in self.plan.data)

    @property
    def manifests(self) -> list[Manifest]:
        """The manifest of each stage's passages."""
        return [self.plan.data[data].manifest for data in self.plan.data_of]


def prepare(settings: PretrainSettings, data: str) -> Prepared:
    """Open the passages and make the plan; `InputError` says what does not fit together."""
    passages = Passages(data)
    corpus = corpus_encoder(data, passages.manifest)
    others = _others(settings, passages)
    tasks = settings.build_tasks()
    for task in tasks.values():
        task.prepare(SpecialIds.of(corpus))
    plan = Plan(settings, passages, tasks, others)
    _check_sources(settings, plan)
    _warn(settings, tasks)
    prepared = Prepared(passages, plan, BatchBuilder(plan, passages, tasks, SpecialIds.of(corpus)), corpus)
    longest, room = prepared.longest + 2, settings.model.max_positions
    if longest > room and settings.init_from is None:
        raise InputError(
            f"passages have up to {longest} tokens, model.max_positions is {room}: "
            f"set it to {longest}, or encode with --max-tokens {room}"
        )
    return prepared


def _check_sources(settings: PretrainSettings, plan: Plan) -> None:
    """Refuse a weight above 0 for a source that the passages do not have: a typing error, or the wrong folder."""
    given = [("sources", settings.sources, plan.data)]
    for number, stage in enumerate(settings.stages):
        given.append((f"stages.{number}.sources", stage.sources or {}, [plan.data[plan.data_of[number]]]))
    for where, weights, data in given:
        known = {name for passages in data for name in passages.source_names}
        for name, weight in weights.items():
            if weight and name not in known:
                folders = ", ".join(passages.folder for passages in data)
                raise InputError(f"{where}: no passage in {folders} comes from `{name}`{nearest(name, known)}")


def _warn(settings: PretrainSettings, tasks: dict[str, Task]) -> None:
    """Say what is possible, and hardly meant."""
    used = {name for stage in settings.stages for name in stage.tasks}
    idle = [name for name, task in tasks.items() if name not in used and not task.changes_input]
    if idle:
        logger.warning("%s: among `tasks`, but in no stage: not trained", ", ".join(idle))
    begins = accumulate((stage.steps for stage in settings.stages[:-1]), initial=0)
    shortest, warmup = min(settings.curve(step)[1] for step in begins), settings.optimizer.warmup_steps
    if warmup > shortest:
        logger.warning("optimizer.warmup_steps: %d, of %d steps: the rate never reaches its peak", warmup, shortest)


def _others(settings: PretrainSettings, passages: Passages) -> dict[str, Passages]:
    """Open the passages of stages that have their own, each folder once; they need the tokenizer of the run."""
    opened, found = {os.path.realpath(passages.folder): passages}, {}
    for number, stage in enumerate(settings.stages):
        if stage.data is None:
            continue
        place = os.path.realpath(stage.data)
        if place not in opened:
            opened[place] = _other(stage.data, f"stages.{number}.data", passages)
        found[stage.data] = opened[place]
    return found


def _other(folder: str, key: str, run: Passages) -> Passages:
    try:
        found = Passages(folder)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    mine, theirs = (one.manifest.details["tokenizer"] for one in (run, found))
    if mine != theirs:
        raise InputError(
            f"{key}: {folder} was made with another tokenizer ({theirs[:12]}) than {run.folder} ({mine[:12]}): "
            f"run `ernie-pipe encode --tokenizer {run.folder}/tokenizer` for it"
        )
    return found
