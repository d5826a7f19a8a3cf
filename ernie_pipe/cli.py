"""The `ernie-pipe` command: thin, one function a subcommand; each reads its own arguments.

A user's mistake is one line on standard error and exit code 2.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable

from ernie_pipe import __version__, resources
from ernie_pipe.config import nearest
from ernie_pipe.errors import InputError, mistake


def _segment(argv: list[str]) -> int:
    """Raw text → documents with sentence, word, phrase and entity spans."""
    return _job("segment_corpus", argv)


def _mine(argv: list[str]) -> int:
    """Raw or segmented documents → a lexicon of the phrases that they hold."""
    return _job("mine_lexicon", argv)


def _relations(argv: list[str]) -> int:
    """Raw or segmented documents → pairs of clauses with the discourse relation between them."""
    return _job("mine_relations", argv)


def _clicks(argv: list[str]) -> int:
    """A click log → pairs of query and title, strong or weak, for `segment`."""
    return _job("gather_clicks", argv)


def _vocab(argv: list[str]) -> int:
    """Segmented documents → a tokenizer folder; or take, measure and extend a given vocab.txt."""
    return _job("build_vocab", argv)


def _encode(argv: list[str]) -> int:
    """Segmented documents + tokenizer → passages for training."""
    return _job("encode_corpus", argv)


def _import_ernie1(argv: list[str]) -> int:
    """Lines of ERNIE 1.0's released pretraining format + tokenizer → passages."""
    return _job("import_ernie1", argv)


def _job(name: str, argv: list[str]) -> int:
    try:
        module = resources.job(name)
    except ModuleNotFoundError as error:
        raise InputError(f"{error}: install the Spark side with `pip install 'ernie-pipe[spark]'`") from None
    return module.main(argv)


def _plan(argv: list[str]) -> int:
    """What a run will do: stages, tasks, steps, tokens, epochs, padding, memory and time."""
    from ernie_pipe.pretrain.preview import main as preview

    return preview(argv)


def _pretrain(argv: list[str]) -> int:
    """Continual multi-task pretraining; N processes through `accelerate launch`."""
    from ernie_pipe.launch import pretrain

    return pretrain(argv)


def _export(argv: list[str]) -> int:
    """A run's newest checkpoint → a transformers folder."""
    parser = argparse.ArgumentParser(prog="ernie-pipe export", description=_export.__doc__)
    parser.add_argument("--run", required=True, help="folder of `ernie-pipe pretrain`")
    parser.add_argument("--output", metavar="HF", required=True, help="folder for the transformers model")
    parser.add_argument("--format", choices=("ernie", "bert"), default="ernie", help="bert folds a task's embedding in")
    parser.add_argument("--task", help="task whose embedding `bert` folds in (default: the first)")
    parser.add_argument("--best", action="store_true", help="the best checkpoint of evaluate.every, not the newest")
    args = parser.parse_args(argv)
    from ernie_pipe.pretrain.export import export

    step = export(args.run, args.output, format=args.format, task=args.task, best=args.best)
    print(f"{args.output}: step {step} as {args.format.upper()}, for AutoModelForMaskedLM and AutoTokenizer")
    return 0


def _finetune(argv: list[str]) -> int:
    """Fine-tune a classifier or tagger on labelled data."""
    from ernie_pipe.finetune import commands

    return commands.finetune(argv)


def _evaluate(argv: list[str]) -> int:
    """Metrics of a fine-tuned model on labelled data."""
    from ernie_pipe.finetune import commands

    return commands.evaluate(argv)


def _predict(argv: list[str]) -> int:
    """Predictions of a fine-tuned model for a file of texts."""
    from ernie_pipe.finetune import commands

    return commands.predict(argv)


def _search(argv: list[str]) -> int:
    """The sentences of a file that are nearest in meaning to a query."""
    from ernie_pipe.finetune.semantic_search import main as search

    return search(argv)


def _inspect(argv: list[str]) -> int:
    """Show what is masked: in a text of yours, or in a step of a run."""
    from ernie_pipe.report.inspect import main as inspect

    return inspect(argv)


def _doctor(argv: list[str]) -> int:
    """Check Java, Python, versions and devices."""
    from ernie_pipe.doctor import main as doctor

    return doctor(argv)


def _demo(argv: list[str]) -> int:
    """The whole pipeline on the embedded sample, in a few minutes."""
    from ernie_pipe.demo import main as demo

    return demo(argv)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "mine": _mine,
    "relations": _relations,
    "clicks": _clicks,
    "segment": _segment,
    "vocab": _vocab,
    "encode": _encode,
    "import-ernie1": _import_ernie1,
    "plan": _plan,
    "pretrain": _pretrain,
    "inspect": _inspect,
    "export": _export,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "predict": _predict,
    "search": _search,
    "doctor": _doctor,
    "demo": _demo,
}


def run(argv: list[str]) -> int:
    """Run one command; raises `InputError` for a user's mistake."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"ernie-pipe {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        raise InputError(f"unknown command `{argv[0]}`{nearest(argv[0], COMMANDS)}")
    return COMMANDS[argv[0]](argv[1:])


def _help() -> str:
    lines = [f"  {name:<15}{(function.__doc__ or '').splitlines()[0]}" for name, function in COMMANDS.items()]
    return "\n".join(["usage: ernie-pipe COMMAND …   (ernie-pipe COMMAND --help lists its settings)", "", *lines])


def main() -> None:
    """Entry point of the console script."""
    # Models and tokenizers come from folders: no command ever asks a hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ernie_pipe").setLevel(logging.INFO)
    try:
        sys.exit(run(sys.argv[1:]))
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (InputError, OSError) as error:
        line = mistake(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
