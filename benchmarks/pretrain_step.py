"""A training step: real tokens a second of our trainer, against transformers' `Trainer` padded and on full blocks.

    python benchmarks/pretrain_step.py --model tiny|base --device cpu|cuda [--data PATH] [--max-tokens 512]

PATH is raw text (prepared by `ernie-pipe segment`, `vocab` and `encode`; default: the sample corpus) or a folder of
passages. Ours: the trainer's own step on the plan's packed batches, masking alone. The peers: `ErnieForMaskedLM` in
transformers' `Trainer` with `DataCollatorForLanguageModeling`, (i) the same passages, a batch padded to its longest,
(ii) the passages one after another, cut into full blocks. Same sizes, vocabulary, dropout, precision, AdamW, clipping
and threads, the same real tokens a step as near as whole rows allow; SDPA for the peers. Each round is some steps of
each after one that is not timed; five interleaved rounds, median, least and most. The last line is JSON.

`mfu` counts the FLOPs of a model that is computed whole: a real token costs 6·N (N: parameters of the layers, without
embeddings) + 12·L·d·s (attention, s = Σlen²/Σlen) + 6·(d² + d·V)·p (the head on the share p that is predicted), over
the device's dense bf16 peak. Our last layer leaves out what no head reads: what is executed is printed beside.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from flops import work
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    ErnieConfig,
    ErnieForMaskedLM,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)
from transformers import Trainer as PeerTrainer

from ernie_pipe import resources
from ernie_pipe.config import validate
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.pretrain.tally import TaskMeans
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.text.encode import SpecialIds, load_encoder

ROUNDS = 5
RATE = 0.15
MODELS = {
    "tiny": {"hidden_size": 192, "layers": 2, "heads": 6, "intermediate_size": 768},
    "base": {"hidden_size": 768, "layers": 12, "heads": 12, "intermediate_size": 3072},
}
# Dense bf16, SXM forms (NVIDIA's data sheets); others by --peak-tflops.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
TOKENS = {("tiny", "cpu"): 8192, ("base", "cpu"): 4096, ("tiny", "cuda"): 131_072, ("base", "cuda"): 65_536}
STEPS = {("tiny", "cpu"): 6, ("base", "cpu"): 1, ("tiny", "cuda"): 50, ("base", "cuda"): 30}
OPTIMIZER = {"learning_rate": 1e-4, "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.98, "clip_norm": 1.0}


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="tiny", help="size of the encoder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train (cuda: in bf16)")
    parser.add_argument("--data", metavar="PATH", help="raw text or passages (default: the sample corpus)")
    parser.add_argument("--max-tokens", type=int, default=512, help="tokens of a passage and of a block (raw text)")
    parser.add_argument("--tokens-per-step", type=int, help="real tokens of a step")
    parser.add_argument("--steps", type=int, help="steps of a round that are timed")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contender")
    parser.add_argument("--loader-workers", type=int, default=0, help="processes that build batches, for each")
    parser.add_argument("--compile", action="store_true", help="torch.compile for all three")
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak of a device that is not in the table")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: use --device cpu", file=sys.stderr)
        return 2
    args.tokens_per_step = args.tokens_per_step or TOKENS[args.model, args.device]
    args.steps = args.steps or STEPS[args.model, args.device]
    torch.set_num_threads(args.threads)
    folder = Path(tempfile.mkdtemp(prefix="ernie_pipe_benchmark_"))
    try:
        report(args, measure(args, prepared(args, folder), folder))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def prepared(args: argparse.Namespace, folder: Path) -> str:
    """Return a folder of passages: the one that was given, or made from the raw text by the commands themselves."""
    given = args.data or str(resources.sample() / "documents")
    if (Path(given) / "tokenizer").is_dir():
        return given
    segmented, tokenizer, passages = (str(folder / name) for name in ("segmented", "tokenizer", "passages"))
    size = str(args.max_tokens)
    for words in (
        ["segment", "--input", given, "--output", segmented],
        ["vocab", "--input", segmented, "--output", tokenizer, "--size", "18000"],
        ["encode", "--input", segmented, "--tokenizer", tokenizer, "--output", passages, "--max-tokens", size],
    ):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ernie-pipe")), *words], stdout=sys.stderr, check=False
        )
        if done.returncode:
            raise InputError(f"{given}: `ernie-pipe {words[0]}` did not prepare it, see above")
    return passages


@dataclass(frozen=True)
class Timed:
    """Steps of one round: real tokens, positions that were computed (padding among them), seconds, Σ length²."""

    real: int
    computed: int
    seconds: float
    squares: int = 0
    predicted: int = 0
    waited: float = 0.0


def measure(args: argparse.Namespace, data: str, folder: Path) -> dict[str, Any]:
    """Return the rounds of each contender, the lengths of the rows and what FLOPs need to be counted."""
    passages = Passages(data)
    special = SpecialIds.of(load_encoder(f"{data}/tokenizer"))
    order = np.random.default_rng(1).permutation(len(passages)).tolist()
    rows = [whole_row(passages.get(number)[0], special) for number in order]
    lengths = np.array([len(row) for row in rows])
    longest = int(lengths.max())
    trainer = Trainer(settings(args, longest), data, folder / "run")
    config = trainer.accelerator.unwrap_model(trainer.model).config
    stream = np.concatenate(rows)
    blocks = list(stream[: len(stream) // longest * longest].reshape(-1, longest))
    contenders = {
        "ours": ours(trainer, args.steps),
        "padded": peer(args, data, config, rows, args.tokens_per_step, folder),
        "blocks": peer(args, data, config, blocks, args.tokens_per_step, folder),
    }
    rounds: dict[str, list[Timed]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            rounds[name].append(run())
    return {"rounds": rounds, "lengths": lengths, "config": config}


def whole_row(ids: np.ndarray, special: SpecialIds) -> np.ndarray:
    """Return `[CLS] ids [SEP]`."""
    return np.concatenate([[special.cls], ids, [special.sep]]).astype(np.int64)


def settings(args: argparse.Namespace, longest: int) -> PretrainSettings:
    """Our run: masking alone, one micro-batch a step, nothing logged, saved or evaluated between."""
    precision = "bf16" if args.device == "cuda" else "fp32"
    given: dict[str, Any] = {
        "precision": precision,
        "compile": args.compile,
        "model": MODELS[args.model] | {"max_positions": max(8, longest)},
        "tasks": {"knowledge_masking": {"rate": RATE}},
        "stages": [{"steps": 1_000_000}],
        "batch": {"tokens_per_step": args.tokens_per_step, "loader_workers": args.loader_workers},
        "optimizer": {**OPTIMIZER, "schedule": "constant"},
        "trackers": [],
    }
    return validate(PretrainSettings, given, where="benchmark")


def ours(trainer: Trainer, steps: int) -> Callable[[], Timed]:
    """Steps of the project's own trainer, one round after another through the plan."""
    tally = TaskMeans({name: task.classes for name, task in trainer.builder.tasks.items()}, trainer.accelerator.device)
    batches: Iterator[list[dict[str, Any]]] = trainer._batches(trainer.plan.steps)
    trainer.model.train()

    def step() -> list[dict[str, Any]]:
        taken = next(batches)
        trainer._one_step(taken, tally)
        trainer.step += 1
        return taken

    def run() -> Timed:
        step()
        began, waited = now(trainer.accelerator.device), trainer.data_seconds
        taken = [batch for _ in range(steps) for batch in step()]
        seconds = now(trainer.accelerator.device) - began
        real = sum(len(batch["input_ids"]) for batch in taken)
        squares = sum(int(batch["starts"].diff().long().square().sum()) for batch in taken)
        predicted = sum(len(batch["targets"]["knowledge_masking"][0]) for batch in taken)
        return Timed(real, real, seconds, squares, predicted, trainer.data_seconds - waited)

    return run


def now(device: torch.device) -> float:
    """Return the time once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Peer(PeerTrainer):
    """transformers' `Trainer`, with a count of what passes, and the time of its first and last step's end."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named, callbacks=[])
        self.seen: list[tuple[torch.Tensor, int]] = []
        self.ends: list[float] = []
        # Its own lines would mix with ours.
        self.remove_callback(PrinterCallback)
        self.add_callback(Clock(self))

    def training_step(self, model: Any, inputs: Any, *given: Any, **named: Any) -> torch.Tensor:
        """One forward and backward pass."""
        self.seen.append((inputs["attention_mask"].sum(), inputs["input_ids"].numel()))
        return super().training_step(model, inputs, *given, **named)


class Clock(TrainerCallback):
    """Takes the time at the end of the first step, and of the last."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by transformers after the update."""
        if state.global_step in (1, state.max_steps):
            self._peer.ends.append(now(self._peer.args.device))


def peer(
    args: argparse.Namespace, data: str, config: Any, rows: Sequence[np.ndarray], tokens: int, folder: Path
) -> Callable[[], Timed]:
    """Steps of transformers' `Trainer` on batches of about `tokens` real tokens; each round takes the next rows."""
    size = max(1, round(tokens / np.mean([len(row) for row in rows])))
    masks = DataCollatorForLanguageModeling(AutoTokenizer.from_pretrained(f"{data}/tokenizer"), mlm_probability=RATE)
    config = ErnieConfig(**config.to_dict())
    config._attn_implementation = "sdpa"
    made = Peer(model=ErnieForMaskedLM(config), args=peer_arguments(args, size, folder), data_collator=masks)
    wanted, at = args.steps * size + size, 0

    def run() -> Timed:
        nonlocal at
        made.train_dataset = [{"input_ids": rows[(at + n) % len(rows)].tolist()} for n in range(wanted)]  # type: ignore
        at += wanted
        made.seen.clear()
        made.ends.clear()
        made.train()
        counted = made.seen[1:]
        first, last = made.ends
        return Timed(sum(int(real) for real, _ in counted), sum(computed for _, computed in counted), last - first)

    return run


def peer_arguments(args: argparse.Namespace, size: int, folder: Path) -> TrainingArguments:
    """What transformers' `Trainer` is told: our optimiser, precision and clipping, and nothing beside training."""
    return TrainingArguments(
        output_dir=str(folder / "peer"), per_device_train_batch_size=size, max_steps=args.steps + 1,
        learning_rate=OPTIMIZER["learning_rate"], weight_decay=OPTIMIZER["weight_decay"],
        adam_beta1=OPTIMIZER["beta1"], adam_beta2=OPTIMIZER["beta2"], adam_epsilon=1e-8,
        max_grad_norm=OPTIMIZER["clip_norm"], lr_scheduler_type="constant", optim="adamw_torch_fused",
        use_cpu=args.device == "cpu", bf16=args.device == "cuda", torch_compile=args.compile,
        dataloader_num_workers=args.loader_workers, report_to=[], logging_strategy="no", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip


def report(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print lengths, rates, ratios and FLOPs, and the line of JSON."""
    lengths, rounds, config = found["lengths"], found["rounds"], found["config"]
    counts, edges = np.histogram(lengths, bins=np.linspace(0, lengths.max(), 9).astype(int))
    size = f"{lengths.mean():.0f} tokens ({lengths.min()} to {lengths.max()})"
    print(f"{len(lengths):,} passages of {size}, vocabulary {config.vocab_size:,}")
    shares = [f"≤ {edge} {count / len(lengths):.0%}" for edge, count in zip(edges[1:], counts, strict=True)]
    print(f"lengths: {', '.join(shares)}")
    rates = {name: [each.real / each.seconds for each in rounds[name]] for name in rounds}
    for name, values in rates.items():
        each = rounds[name]
        per_step = sum(one.real for one in each) / len(each) / args.steps
        filled = sum(one.real for one in each) / sum(one.computed for one in each)
        print(f"{name:<8}{spread(values)} real tokens/s; {per_step:,.0f} a step, {filled:.1%} of what is computed")
    ratios = {
        f"ratio_to_{name}": [mine / other for mine, other in zip(rates["ours"], rates[name], strict=True)]
        for name in ("padded", "blocks")
    }
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.2f} (least {min(values):.2f}, most {max(values):.2f})")
    sums = {name: summed(rounds[name]) for name in rounds}
    mine, padded = sums["ours"], sums["padded"]
    cost = work(
        config,
        share=mine.predicted / mine.real,
        mean=mine.squares / mine.real,
        filled=padded.real / padded.computed,
        longest=int(lengths.max()),
    )
    print(
        f"MFLOPs a real token: ours {cost.ours / 1e6:.2f} (the whole model {cost.model / 1e6:.2f}), "
        f"padded {cost.padded / 1e6:.2f}, blocks {cost.blocks / 1e6:.2f}: "
        f"ratios {cost.padded / cost.ours:.2f} and {cost.blocks / cost.ours:.2f} by FLOPs alone"
    )
    top = peak(args)
    mfu = [rate * cost.model / top for rate in rates["ours"]] if top else None
    if mfu and top:
        done = f"{cost.ours / cost.model:.1%} of it executed"
        print(f"mfu: {statistics.median(mfu):.1%} of {top / 1e12:.0f} TFLOP/s; {done}")
    waited = [each.waited / each.seconds for each in rounds["ours"]]
    line: dict[str, Any] = {"tokens_per_s": round(statistics.median(rates["ours"]))}
    line |= {name: round(statistics.median(values), 2) for name, values in ratios.items()}
    line |= {"data_wait_share": round(statistics.median(waited), 4)}
    line |= {"mfu": round(statistics.median(mfu), 4) if mfu else None}
    line |= {"tokens_per_s_spread": [round(min(rates["ours"])), round(max(rates["ours"]))]}
    line |= {f"{name}_spread": [round(min(values), 2), round(max(values), 2)] for name, values in ratios.items()}
    print(json.dumps(line))


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):>10,.0f} (least {min(values):,.0f}, most {max(values):,.0f})"


def summed(rounds: Sequence[Timed]) -> Timed:
    """Return the sums over rounds."""
    return Timed(*(sum(values) for values in zip(*map(astuple, rounds), strict=True)))


def peak(args: argparse.Namespace) -> float | None:
    """Return the dense bf16 peak of the device in FLOP/s; none on a CPU, or for an unknown GPU."""
    if args.peak_tflops:
        return args.peak_tflops * 1e12
    name = torch.cuda.get_device_name() if args.device == "cuda" else ""
    return next((value for key, value in PEAKS.items() if key in name), None)


if __name__ == "__main__":
    sys.exit(main())
