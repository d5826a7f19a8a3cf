"""Everything a run needs but the model: checked once before processes are launched, and built again in each.

No torch here: a mistake is told in a second.
"""

from dataclasses import dataclass

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.batch import BatchBuilder
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.pretrain.run import corpus_encoder
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.text.encode import Encoder, SpecialIds


@dataclass(frozen=True)
class Prepared:
    """Passages, plan and batch builder of a run, and the tokenizer that made the passages."""

    passages: Passages
    plan: Plan
    builder: BatchBuilder
    corpus: Encoder


def prepare(settings: PretrainSettings, data: str) -> Prepared:
    """Open the passages and make the plan; `InputError` says what does not fit together."""
    passages = Passages(data)
    tasks = settings.build_tasks()
    plan = Plan(settings, passages, tasks)
    longest, room = passages.longest + 2, settings.model.max_positions
    if longest > room and settings.init_from is None:
        raise InputError(
            f"passages have up to {longest} tokens, model.max_positions is {room}: "
            f"set it to {longest}, or encode with --max-tokens {room}"
        )
    corpus = corpus_encoder(data, passages.manifest)
    return Prepared(passages, plan, BatchBuilder(plan, passages, tasks, SpecialIds.of(corpus)), corpus)
