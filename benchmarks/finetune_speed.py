"""Fine-tuning and prediction: real tokens a second of our heads, against transformers' `Trainer` with its defaults.

    python benchmarks/finetune_speed.py [--data FILE] [--task classifier|tagger] [--model HF | --size tiny|base]

FILE is labelled data as `ernie-pipe finetune` reads it; default: the classifier's sample, 120 short sentences. The peer
is `transformers.Trainer` on the same features, model, batch size, epochs, precision and threads, with the collator for
the task (padding to the longest of a batch), and all else as it comes; its `predict` on the same features too. Ours is
what the heads call: `training.train` and `inference.logits`. Tokens are real ones, without padding; seconds are those
of the CPU (of all threads), on CUDA those of the clock. Both start from the same weights in every round; five
interleaved rounds after one that is not timed, median, least and most. The answers of one model by both ways are
compared. The last line is JSON.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from transformers import BertTokenizer, ErnieConfig, ErnieModel, Trainer, TrainingArguments

from ernie_pipe import resources
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.finetune import head_class, inference, training
from ernie_pipe.finetune.encoder import quiet
from ernie_pipe.finetune.files import read_lines
from ernie_pipe.finetune.trainer import length

ROUNDS = 5
SIZES = {
    "tiny": {"hidden_size": 192, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 768},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=("classifier", "tagger"), default="classifier", help="head")
    parser.add_argument("--data", metavar="FILE", help="labelled data (default: the sample's)")
    parser.add_argument("--model", metavar="HF", help="transformers folder (default: random weights of --size)")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="size of the random encoder")
    parser.add_argument("--examples", type=int, default=2000, help="examples, from the beginning of the data")
    parser.add_argument("--batch-size", type=int, default=32, help="sequences in a step")
    parser.add_argument("--max-tokens", type=int, default=256, help="tokens in a sequence")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contender")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="ernie_pipe_benchmark_") as folder:
            report(args, measure(args, Path(folder)))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    return 0


def encoder_folder(args: argparse.Namespace, source: str, folder: Path) -> str:
    """Return the given model, or an encoder of random weights that knows the characters of `source`."""
    if args.model:
        return args.model
    characters = {char for _, line in read_lines(source) for char in line.lower() if char.strip()}
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(characters)]
    config = ErnieConfig(vocab_size=len(tokens), max_position_embeddings=512, use_task_id=True, **SIZES[args.size])
    torch.manual_seed(0)
    ErnieModel(config).save_pretrained(folder)
    BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}).save_pretrained(folder)
    return str(folder)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return tokens a second of each round by what is timed, and how far the answers are apart."""
    default = {"classifier": "sentiment/train.tsv", "tagger": "ner/train.txt"}[args.task]
    cls, source = head_class(args.task), args.data or str(resources.sample() / default)
    settings = {
        "batch_size": args.batch_size, "max_tokens": args.max_tokens, "device": args.device, "epochs": 1
    }  # fmt: skip
    head = cls.from_pretrained(encoder_folder(args, source, folder), **settings)
    examples = head.read(source, "data")[: args.examples]
    torch.manual_seed(0)
    head.model = head.start(head.labels_of(examples)).to(args.device)
    features = head.features(examples)
    # What each makes ready of a model; ours makes its own Trainer within `train`, so the peer's fit does too.
    contenders: dict[str, Callable[[Any], Callable[[], Any]]] = {
        "fit": lambda model: partial(
            training.train, model, features, collator=head.collator(), settings=head.settings, seed=1
        ),
        "fit_peer": lambda model: lambda: peer(args, model, head, features, folder).train(),
        "predict": lambda model: partial(inference.logits, model, head.tokenizer, features, args.batch_size),
        "predict_peer": lambda model: partial(peer(args, model, head, features, folder).predict, features),
    }  # fmt: skip
    tokens = sum(length(item) for item in features)
    clock = time.perf_counter if args.device == "cuda" else time.process_time
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    answers = {}
    for number in range(ROUNDS + 1):
        for name, prepare in contenders.items():
            with quiet():
                run = prepare(copy.deepcopy(head.model))
                began = clock()
                answers[name] = run()
            if args.device == "cuda":
                torch.cuda.synchronize()
            # The first round warms up.
            if number:
                speeds[name].append(tokens / (clock() - began))
    apart = max(
        float(np.abs(row - other[: len(row)] if row.ndim == 2 else row - other).max())
        for row, other in zip(answers["predict"], answers["predict_peer"].predictions, strict=True)
    )
    lengths = sorted(length(item) for item in features)
    return {"speeds": speeds, "apart": apart, "lengths": lengths, "source": source}


def peer(args: argparse.Namespace, model: Any, head: Any, features: list[dict], folder: Path) -> Trainer:
    """Return transformers' Trainer with its defaults; what it would write and print is turned off."""
    transformers.set_seed(1)
    arguments = TrainingArguments(
        output_dir=str(folder / "peer"),
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        num_train_epochs=1,
        learning_rate=head.settings.learning_rate,
        use_cpu=args.device == "cpu",
        dataloader_pin_memory=args.device == "cuda",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=features, data_collator=head.collator())
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def report(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print the figures and the line of JSON."""
    lengths, speeds = found["lengths"], found["speeds"]
    spread = ", ".join(f"{lengths[int(share * (len(lengths) - 1))]}" for share in (0, 0.25, 0.5, 0.75, 1))
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{args.threads} CPU threads"
    print(f"{found['source']}: {len(lengths)} sequences, tokens at the quartiles {spread}; {where}")
    ratios = {}
    for name in ("fit", "predict"):
        pairs = [ours / other for ours, other in zip(speeds[name], speeds[f"{name}_peer"], strict=True)]
        ratios[name] = statistics.median(pairs)
        for label in (name, f"{name}_peer"):
            middle, least, most = statistics.median(speeds[label]), min(speeds[label]), max(speeds[label])
            print(f"{label}: {middle:,.0f} tokens/s (least {least:,.0f}, most {most:,.0f})")
        print(f"{name}: {ratios[name]:.2f} times (least {min(pairs):.2f}, most {max(pairs):.2f})")
    print(f"answers of both ways are {found['apart']:.1e} apart at most")
    line = {
        "ratio_fit": round(ratios["fit"], 2),
        "ratio_predict": round(ratios["predict"], 2),
        "apart": found["apart"],
    }
    print(json.dumps(line))


if __name__ == "__main__":
    sys.exit(main())
