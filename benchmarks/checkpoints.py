"""How long training waits for a checkpoint, against saving in the foreground.

    python benchmarks/checkpoints.py [--layers N] [--hidden N] [--saves N] [--threads N]

Contenders: `ernie_pipe.pretrain.checkpoint.Writer` (a copy, then a thread that writes, hashes and syncs); the same
files written while training stands still; `torch.save` of weights and moments in the foreground, as most loops do,
without checksum and sync. The model is fresh, on random ids; the first copy maps its memory and is told apart. A step
(128 tokens) is timed alone and beside the writing. Then the share of the time that goes into waiting and into slower
steps, for steps of this length and several intervals. The last line is JSON; its figures are ours.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ernie_pipe.config import positive
from ernie_pipe.model.convert import new_config
from ernie_pipe.model.multitask import MultiTaskModel
from ernie_pipe.model.settings import ModelSettings
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain.optimizer import build_optimizer
from ernie_pipe.pretrain.settings import OptimizerSettings
from ernie_pipe.tasks import find
from ernie_pipe.text.encode import SpecialIds

TOKENS, VOCABULARY = 128, 18_000
INTERVALS = (10, 100, 1000)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=positive, default=12, help="layers of the encoder")
    parser.add_argument("--hidden", type=positive, default=768, help="its hidden size, a multiple of 64")
    parser.add_argument("--saves", type=positive, default=5, help="checkpoints measured")
    parser.add_argument("--threads", type=positive, default=1, help="threads of a step")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, optimizer = build(args.layers, args.hidden)
    with tempfile.TemporaryDirectory(prefix="ernie_pipe_benchmark_") as folder:
        report(model, measure(model, optimizer, args.saves, Path(folder)))
    return 0


def build(layers: int, hidden: int) -> tuple[MultiTaskModel, torch.optim.Optimizer]:
    """Return a fresh model and its optimiser, with moments."""
    kind = find("knowledge_masking")
    tasks = {"knowledge_masking": kind(kind.Settings())}
    settings = ModelSettings(layers=layers, hidden_size=hidden, heads=hidden // 64, intermediate_size=4 * hidden)
    special = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4, size=VOCABULARY)
    model = MultiTaskModel(new_config(settings, special, list(tasks)), tasks)
    optimizer = build_optimizer(model, OptimizerSettings())
    train(model, optimizer)
    return model, optimizer


def train(model: MultiTaskModel, optimizer: torch.optim.Optimizer) -> None:
    """Make one step."""
    zeros = torch.zeros(TOKENS, dtype=torch.long)
    predicted = torch.arange(0, TOKENS, 7)
    batch = {
        "input_ids": torch.randint(5, VOCABULARY, (TOKENS,)),
        "position_ids": torch.arange(TOKENS),
        "token_type_ids": zeros,
        "task_type_ids": zeros,
        "starts": torch.tensor([0, TOKENS], dtype=torch.int32),
        "longest": TOKENS,
        "targets": {"knowledge_masking": (predicted, zeros[predicted] + 5)},
    }
    (model(batch)["knowledge_masking"].loss / len(predicted)).backward()
    optimizer.step()
    optimizer.zero_grad()


def timed(call: Callable[..., Any], *given: Any, **more: Any) -> float:
    """Return the seconds of one call."""
    began = time.monotonic()
    call(*given, **more)
    return time.monotonic() - began


def measure(
    model: MultiTaskModel, optimizer: torch.optim.Optimizer, saves: int, folder: Path
) -> dict[str, list[float]]:
    """Return seconds: of waiting, steps alone and beside the writing, the writing, and foreground saves."""
    writer = checkpoint.Writer()
    found: dict[str, list[float]] = {
        name: [] for name in ("waited", "alone", "beside", "writing", "foreground", "torch")
    }
    for number in range(1, saves + 2):
        found["alone"] += [timed(train, model, optimizer) for _ in range(3)]
        found["foreground"].append(timed(checkpoint.save, folder / "foreground", number, model, optimizer, keep=1))
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        found["torch"].append(timed(torch.save, state, folder / "torch.pt"))
        before, began = writer.waited, time.monotonic()
        writer.save(folder / "background", number, model, optimizer, keep=1, best=None, trainer={})
        found["waited"].append(writer.waited - before)
        while writer.busy:
            found["beside"].append(timed(train, model, optimizer))
        found["writing"].append(time.monotonic() - began)
    writer.wait()
    return found


def report(model: MultiTaskModel, found: dict[str, list[float]]) -> None:
    """Print medians, the shares by interval, and the JSON line."""
    first, *later = found["waited"]
    waited, alone, beside, writing, foreground, plain = (
        statistics.median(times)
        for times in (later, *(found[name] for name in ("alone", "beside", "writing", "foreground", "torch")))
    )
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{size / 1e6:.0f} M parameters; a step {alone:.2f} s, {beside:.2f} s beside the writing ({writing:.1f} s)")
    print(
        f"waited {waited:.2f} s (first {first:.2f} s); in the foreground {foreground:.2f} s, torch.save {plain:.2f} s"
    )
    # Steps beside the writing take longer: that is lost, too.
    lost = waited + writing * max(0.0, 1 - alone / beside)
    shares = {every: {"waited": waited / (every * alone), "lost": lost / (every * alone)} for every in INTERVALS}
    for every, share in shares.items():
        print(f"a checkpoint every {every} steps: {share['waited']:.3%} waited, {share['lost']:.3%} with slower steps")
    figures = {
        "parameters": size,
        "step_s": alone,
        "waited_s": waited,
        "first_waited_s": first,
        "beside_s": beside,
        "ratio_to_foreground": foreground / waited,
        "ratio_to_torch_save": plain / waited,
        "wait_share": {str(every): share["waited"] for every, share in shares.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    raise SystemExit(main())
