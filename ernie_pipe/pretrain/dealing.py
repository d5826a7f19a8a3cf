"""Sharing examples out evenly: over the steps of a block, and over the micro-batches of a step."""

import numpy as np


def deal(lengths: np.ndarray, wanted: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return who takes each example, so that everyone's tokens come out near-equal.

    `lengths`: of the examples, in the order in which they are given away (longest first); taker t wants `wanted[t]` of
    them and has `sums[t]` tokens already, to which its new ones are added. In every round whoever has least takes
    the first; equal numbers stay equal.
    """
    taker = np.empty(len(lengths), dtype=np.int64)
    begin = 0
    for turn in range(int(wanted.max(initial=0))):
        waiting = np.flatnonzero(wanted > turn)
        waiting = waiting[np.argsort(sums[waiting], kind="stable")]
        end = begin + len(waiting)
        taker[begin:end] = waiting
        sums[waiting] += lengths[begin:end]
        begin = end
    return taker


def micro_batches(task: np.ndarray, lengths: np.ndarray, parts: int) -> list[np.ndarray]:
    """Deal the examples of a step over micro-batches, task by task; returns their places, rising.

    Every micro-batch has its part of every task to within one: how long an example is known to be says less for
    some tasks. `parts` divides the number of examples.
    """
    order = np.lexsort((-lengths, task))
    taker = deal(lengths[order], np.full(parts, len(order) // parts), np.zeros(parts))
    return [np.sort(order[taker == part]) for part in range(parts)]


def repeats(task: np.ndarray, passage: np.ndarray) -> np.ndarray:
    """Number equal (task, passage) pairs of a step 0, 1, … so that a small corpus repeats no draw."""
    order = np.lexsort((passage, task))
    same = np.concatenate([[False], (np.diff(task[order]) == 0) & (np.diff(passage[order]) == 0)])
    index = np.arange(len(order))
    start = np.maximum.accumulate(np.where(same, 0, index))
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = index - start
    return numbers
