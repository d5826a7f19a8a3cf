"""Bugs that other pipelines shipped, one test each; the issue where it was found stands in the docstring."""

import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ernie_pipe.model.convert import new_config
from ernie_pipe.model.multitask import MASKING, MultiTaskModel
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain.batch import to_tensors
from ernie_pipe.pretrain.optimizer import build_optimizer
from ernie_pipe.pretrain.trainer import StepBatches, Trainer
from tests.pretrain.building import MICRO, batches, settings
from tests.pretrain.test_trainer import cut_in

QUIET = MICRO["model"] | {"dropout": 0.0, "attention_dropout": 0.0}
ALL = range(MICRO["batch"]["micro_batches"])


def model(builder, seed=0):
    torch.manual_seed(seed)
    return MultiTaskModel(new_config(settings(model=QUIET).model, builder.special, list(builder.tasks)), builder.tasks)


def test_neither_padding_nor_special_tokens_are_predicted(builder):
    """transformers#11155: the whole-word collator masked padding."""
    for built in builder.step(5, ALL):
        predicted = built.targets[MASKING]
        assert len(predicted.positions)
        assert not np.isin(predicted.labels, list(builder.special.all)).any()
        ends = np.concatenate([built.packed.starts[:-1], built.packed.starts[1:] - 1])
        assert not np.isin(predicted.positions, ends).any()


def test_the_borders_of_sequences_reach_the_attention(builder):
    """transformers#12998 (the collator dropped the attention mask), #25452, nanoVLM#204 (packed neighbours were
    seen; positions that restart do not hinder it)."""
    batch = to_tensors(builder.step(5, [0])[0])
    starts, encoder = batch["starts"], model(builder).eval()
    assert len(starts) > 2
    assert (batch["position_ids"][starts[:-1].long()] == 0).all()
    before = encoder.hidden(batch)
    changed = batch | {"input_ids": batch["input_ids"].clone()}
    inside = slice(int(starts[1]) + 1, int(starts[2]) - 1)
    changed["input_ids"][inside] = (changed["input_ids"][inside] + 11) % builder.special.size
    moved = (encoder.hidden(changed) - before).abs().amax(-1)
    assert moved[int(starts[1]) : int(starts[2])].max() > 1e-3
    moved[int(starts[1]) : int(starts[2])] = 0
    assert moved.max() < 1e-6


def test_eighty_ten_ten_are_shares_of_what_is_predicted(builder):
    """transformers#17377: 10 % of the rest instead of 10 %."""
    shown, hidden = [], []
    for step in range(10):
        for built in builder.step(step, ALL):
            predicted = built.targets[MASKING]
            shown.append(built.packed.input_ids[predicted.positions])
            hidden.append(predicted.labels)
    after, before = np.concatenate(shown), np.concatenate(hidden)
    masked, same = (after == builder.special.mask).mean(), (after == before).mean()
    assert len(after) > 1000
    assert (masked, same, 1 - masked - same) == pytest.approx((0.8, 0.1, 0.1), abs=0.05)


def test_accumulated_micro_batches_give_the_gradient_of_the_whole(data, tmp_path, monkeypatch):
    """transformers#34191, #35438: the mean of the means, where micro-batches predict unequal numbers of tokens."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    gradients = []
    stages = [MICRO["stages"][1]]
    for parts, batch in cut_in(data, stages, 1, 4):
        trainer = Trainer(settings(model=QUIET, batch=batch, stages=stages), data, tmp_path / str(parts))
        trainer.train(1)
        built = trainer.builder.step(0, range(parts))
        assert parts == 1 or len({len(one.targets[MASKING].labels) for one in built}) > 1
        moments = trainer.optimizer.optimizer.state
        gradients.append([moments[parameter]["exp_avg"] for parameter in trainer.model.parameters()])
    assert max(float(one.abs().max()) for one in gradients[0]) > 1e-3
    assert all(torch.allclose(one, four, atol=1e-6) for one, four in zip(*gradients, strict=True))


def test_a_resumed_run_takes_up_the_data_where_it_was(data):
    """accelerate#2016, streaming#700: data repeated or in another order after a resume."""
    whole, resumed = batches(data), batches(data)
    passed = [whole.step(step, ALL) for step in range(8)]
    for step in range(5, 8):
        for one, two in zip(passed[step], resumed.step(step, ALL), strict=True):
            assert np.array_equal(one.packed.input_ids, two.packed.input_ids)
            assert np.array_equal(one.packed.keys, two.packed.keys)


def test_loader_workers_do_not_share_their_random_numbers(builder):
    """pytorch#5059: every worker began with the same state of numpy."""
    steps = StepBatches(builder, ALL)
    loader = DataLoader(steps, batch_size=None, sampler=range(4), num_workers=2)
    masks = []
    for number, parts in enumerate(loader):
        for one, two in zip(parts, steps[number], strict=True):
            assert torch.equal(one["input_ids"], two["input_ids"])
            masks.append(tuple(one["targets"][MASKING][0].tolist()))
    assert len(set(masks)) == len(masks)


def test_tied_weights_survive_a_checkpoint(builder, tmp_path):
    """transformers#38870, accelerate#2875: safetensors lost the tied projection, which came back random."""
    one, two = model(builder), model(builder, seed=1)
    checkpoint.save(tmp_path, 1, one, build_optimizer(one, settings().optimizer), keep=1)
    checkpoint.load_model(tmp_path, 1, two)
    batch = to_tensors(builder.step(5, [0])[0])
    positions = batch["targets"][MASKING][0]
    logits = [each.eval().logits(MASKING, each.hidden(batch), positions) for each in (one, two)]
    assert torch.equal(*logits)
    assert two.heads[MASKING].decoder.weight is two.encoder.embeddings.word_embeddings.weight
