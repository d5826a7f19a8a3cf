"""Characters a second from raw text to passages, against the loop that users have today and the bare segmenter.

    python benchmarks/encode_corpus.py --data FILE [--repeat N] [--lexicon TSV…] [--tokenizer FOLDER]

Ours: the segmenting and the encoding job in Spark `local[1]`, raw file to Arrow shards, with words, a lexicon,
mined phrases and phrases by rule; start-up (session, worker, lexicon and tokenizer made and loaded) apart.
(a) jieba and the transformers tokenizer, whole-word marks by offsets, one process; (b) rjieba alone, its words
thrown away. Five interleaved rounds on the same text; medians, with the least and the most. The last line is JSON.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ["SPARK_MASTER"] = "local[1]"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "spark_jobs"))

import build_vocab
import encode_corpus
import inputs
import mine_lexicon
import segment_corpus
import session
from pyspark import SparkFiles

from ernie_pipe.errors import InputError, mistake
from ernie_pipe.text import document, lexicon_files
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.encode import load_encoder
from ernie_pipe.text.units import load_segmenter

ROUNDS = 5
ENTRIES = 180_000
ENOUGH = 24_000_000


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="raw text: jsonl, txt (a document a line) or parquet")
    parser.add_argument("--repeat", type=int, help=f"times the text is taken (default: to {ENOUGH:,} characters)")
    parser.add_argument("--lexicon", nargs="+", help=f"lexicon files (default: {ENTRIES:,} made from the text)")
    parser.add_argument("--tokenizer", help="tokenizer folder (default: a vocabulary of 18,000 from the text)")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="ernie_pipe_benchmark_")
    try:
        report(measure(args, Path(folder)))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return texts' size and the seconds of every round for each contender."""
    texts = read_texts(args.data)
    characters = sum(map(len, texts))
    repeat = args.repeat or max(1, -(-ENOUGH // characters))
    raw = write_jsonl(texts, folder / "raw", 1)
    prepared = write_jsonl(texts, folder / "repeated", repeat)
    spark = session.start("benchmark")
    tokenizer = args.tokenizer or make_tokenizer(raw, folder)
    table = lexicon_files.read_lexicons(args.lexicon) if args.lexicon else made_lexicon(texts)
    phrases = table.phrases | mined_phrases(raw, folder)
    compiled = lexicons.compile_lexicon(table.entities, phrases)
    lexicon = session.ship(spark, "benchmark-lexicon.arrow", compiled)
    encoder = load_encoder(tokenizer)
    shipped = session.ship(spark, "benchmark-tokenizer.json", Path(tokenizer, "tokenizer.json").read_bytes())
    ours = {
        tagged: partial(run_jobs, spark, prepared, folder / "out", lexicon, shipped, tagged=tagged)
        for tagged in (False, True)
    }
    segmenter = load_segmenter(SparkFiles.get(lexicon), engine="rjieba")
    contenders: dict[str, tuple[Callable[[], Any], int]] = {
        "ours": (ours[False], repeat),
        "bare segmenter (b)": (partial(bare, segmenter.engine, texts), 1),
        "jieba loop (a)": (partial(jieba_loop(tokenizer), texts), 1),
        "ours, tagged": (ours[True], repeat),
        "bare tagger": (partial(bare_tagger, segmenter.engine, texts), 1),
    }
    for run, _ in contenders.values():
        if run is not contenders["jieba loop (a)"][0]:
            run()
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (run, times) in contenders.items():
            began = time.perf_counter()
            run()
            speeds[name].append(characters * times / (time.perf_counter() - began))
    return {
        "characters": characters, "repeat": repeat, "documents": len(texts), "entities": len(table.entities),
        "phrases": len(phrases), "vocabulary": encoder.size, "speeds": speeds,
    }  # fmt: skip


def read_texts(path: str) -> list[str]:
    """Return the usable documents of `path`."""
    template = document.Split("", "benchmark", "", documents="line")
    splits = document.plan_splits(path, template, split_bytes=1 << 30)
    found = [item for split, _ in splits for item in document.read(split)]
    texts = [item.text for item in found if isinstance(item, document.Record)]
    if not texts:
        raise InputError(f"{path}: no usable document there")
    return texts


def write_jsonl(texts: Sequence[str], folder: Path, repeat: int) -> Path:
    """Write the texts `repeat` times to one file; return its folder."""
    folder.mkdir()
    with open(folder / "text.jsonl", "w", encoding="utf-8") as file:
        for _ in range(repeat):
            file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    return folder


def make_tokenizer(raw: Path, folder: Path) -> str:
    """Build a vocabulary of the text by the project's own jobs."""
    segmented = str(folder / "for-vocabulary")
    segment_corpus.segment(segment_corpus.SegmentSettings(input=[str(raw)], output=segmented))
    output = str(folder / "tokenizer")
    build_vocab.build(build_vocab.VocabSettings(input=segmented, output=output, size=18_000))
    return output


def mined_phrases(raw: Path, folder: Path) -> set[str]:
    """Mine the text by the project's own job."""
    output = folder / "phrases.tsv"
    mine_lexicon.main(["--input", str(raw), "--output", str(output)])
    return lexicon_files.read_lexicons([str(output)]).phrases if output.is_file() else set()


def made_lexicon(texts: Sequence[str]) -> lexicon_files.LexiconTable:
    """A lexicon of `ENTRIES`: one in ten a piece of the text, the others of its characters at random."""
    rng = random.Random(1)
    letters = [letter for letter in "".join(texts) if letter.isalpha()]
    entities: dict[str, str] = {}
    while len(entities) < ENTRIES:
        size = rng.choice((2, 3, 3, 4, 4, 5, 6, 8))
        at = rng.randrange(len(letters) - size)
        piece = letters[at : at + size] if rng.random() < 0.1 else rng.choices(letters, k=size)
        entities["".join(piece)] = rng.choice(("LOC", "PER", "ORG", "TERM"))
    return lexicon_files.LexiconTable(entities)


def run_jobs(spark: Any, raw: Path, output: Path, lexicon: str, tokenizer: str, *, tagged: bool) -> None:
    """Segment and encode the text as the two jobs do."""
    shutil.rmtree(output, ignore_errors=True)
    settings = segment_corpus.SegmentSettings(input=[str(raw)], output=f"{output}/segmented", tagged_entities=tagged)
    tasks = inputs.tasks(session, spark, inputs.plan(settings, settings.output, settings.entity_types), 1 << 20)
    segment = partial(
        segment_corpus.segment_task, output=settings.output, lexicon_name=lexicon,
        options=segment_corpus.segmenter_options(settings),
    )  # fmt: skip
    made = session.run_tasks(spark, tasks, segment, "segment")
    shards = [f"{settings.output}/{shard['name']}" for summary in made for shard in summary["shards"]]
    encode = partial(
        encode_corpus.encode_task, output=f"{output}/passages", tokenizer_name=tokenizer,
        type_ids={kind: number for number, kind in enumerate(settings.entity_types, start=1)},
        options={"max_tokens": 512, "offsets": False, "held_out": 0.0},
    )  # fmt: skip
    session.run_tasks(spark, [{"number": i, "path": path} for i, path in enumerate(shards)], encode, "encode")


def bare(engine: Any, texts: Sequence[str]) -> None:
    """Cut every text and throw the words away."""
    for text in texts:
        engine.cut(text)


def bare_tagger(engine: Any, texts: Sequence[str]) -> None:
    """Tag every text and throw the words away."""
    for text in texts:
        engine.tag(text)


def jieba_loop(folder: str) -> Callable[[Sequence[str]], int]:
    """Words of jieba (its defaults), ids of transformers, a mark where a word begins; in memory, nothing written."""
    import jieba
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    jieba.setLogLevel(60)
    jieba.initialize()

    def run(texts: Sequence[str]) -> int:
        marked = 0
        for text in texts:
            starts, at = set(), 0
            for word in jieba.lcut(text):
                starts.add(at)
                at += len(word)
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
            marked += len([1 if start in starts else 0 for start, _ in encoded["offset_mapping"]])
        return marked

    return run


def report(found: dict[str, Any]) -> None:
    """Print the table and the line of JSON."""
    speeds = found["speeds"]
    print(
        f"{found['documents']:,} documents, {found['characters']:,} characters (ours: {found['repeat']} times over); "
        f"{found['entities']:,} entities, {found['phrases']:,} phrases, vocabulary {found['vocabulary']:,}"
    )
    print(f"{'':<22}{'M characters/s':>16}{'least':>8}{'most':>8}")
    for name, values in speeds.items():
        row = [value / 1e6 for value in (statistics.median(values), min(values), max(values))]
        print(f"{name:<22}{row[0]:>16.3f}{row[1]:>8.3f}{row[2]:>8.3f}")
    ratios = {
        "ratio_to_jieba_loop": ratio(speeds["ours"], speeds["jieba loop (a)"]),
        "share_of_segmenter": ratio(speeds["ours"], speeds["bare segmenter (b)"]),
        "share_with_tagger": ratio(speeds["ours, tagged"], speeds["bare segmenter (b)"]),
    }
    for name, (middle, least, most) in ratios.items():
        print(f"{name:<22}{middle:>16.3f}{least:>8.3f}{most:>8.3f}")
    line = {"mchar_per_s_core": round(statistics.median(speeds["ours"]) / 1e6, 3)}
    print(json.dumps(line | {name: round(values[0], 3) for name, values in ratios.items()}))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most of the ratios of the rounds."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return statistics.median(found), min(found), max(found)


if __name__ == "__main__":
    sys.exit(main())
