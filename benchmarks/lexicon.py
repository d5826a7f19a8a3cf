"""The mapped table of a lexicon against automata: speed, seconds to load, and memory of each worker.

    python benchmarks/lexicon.py --data FILE [--lexicon FILE…] [--entries N]

Contenders: `ernie_pipe.text.lexicon`; daachorse (charwise double array, leftmost-longest); ahocorasick_rs, where it
is installed. Each is built and stored by one process and loaded by another, fresh one, as a Spark worker does it.
Memory is what loading and one search of the whole text add there: private (RssAnon, every worker's own) and mapped
(RssFile, which the workers of a machine share). Then five interleaved rounds on the same text, joined in batches as
`segment` joins it, in CPU seconds (each has one thread); all have to find the same leftmost-longest matches.
ahocorasick_rs cannot be stored: there the seconds to load are those to build. The last line is JSON; its figures are
ours.
"""

import argparse
import hashlib
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ernie_pipe.errors import InputError, mistake
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.lexicon_files import read_lexicons
from ernie_pipe.text.spans import SEPARATOR, code_points

ROUNDS = 5
# Characters that one round searches at least, so that it takes longer than the clock's noise.
ENOUGH = 12_000_000
# What `segment` joins for one search.
BATCH_CHARACTERS = 1 << 19
LENGTHS = (2, 12)
OURS = "ernie_pipe"


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="raw text: jsonl, txt (a document a line) or parquet")
    parser.add_argument("--lexicon", nargs="+", help="lexicon files (default: 180,000 entries made from the text)")
    parser.add_argument("--entries", type=int, help="so many random entries, in place of --lexicon")
    parser.add_argument("--worker", nargs=2, metavar=("STEP", "CONTENDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        step, name = args.worker
        (build if step == "build" else search)(name, Path(args.data))
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="ernie_pipe_benchmark_") as folder:
            report(measure(args, Path(folder)))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what each contender costs, and its characters a second in every round."""
    from encode_corpus import made_lexicon, read_texts

    texts = read_texts(args.data)
    if args.entries:
        surfaces = random_surfaces("".join(texts), args.entries)
    else:
        table = read_lexicons(args.lexicon) if args.lexicon else made_lexicon(texts)
        surfaces = sorted(table.entities.keys() | table.phrases)
    (folder / "batches.json").write_text(json.dumps(batches_of(texts)), encoding="utf-8")
    (folder / "surfaces.json").write_text(json.dumps(surfaces), encoding="utf-8")
    characters = sum(map(len, texts))
    costs: dict[str, Any] = {}
    workers = {}
    for name in CONTENDERS:
        made = subprocess.run(command("build", name, folder), check=True, stdout=subprocess.PIPE)
        costs[name] = json.loads(made.stdout)
        workers[name] = subprocess.Popen(
            command("search", name, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        costs[name] |= answer(workers[name])
    if len({cost["digest"] for cost in costs.values()}) > 1:
        raise SystemExit(f"the matches differ: {costs}")
    passes = -(-ENOUGH // characters)
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(ROUNDS):
        for name, worker in workers.items():
            speeds[name].append(characters * passes / answer(worker, passes))
    for worker in workers.values():
        worker.communicate()
    return {"characters": characters, "entries": len(surfaces), "costs": costs, "speeds": speeds}


def command(step: str, name: str, folder: Path) -> list[str]:
    """Return the command line of a worker."""
    return [sys.executable, __file__, "--data", str(folder), "--worker", step, name]


def answer(worker: subprocess.Popen, passes: int = 0) -> Any:
    """Ask a worker for so many passes (none: its first word); return what it says."""
    asked, answers = worker.stdin, worker.stdout
    if passes:
        print(passes, file=asked, flush=True)
    line = answers.readline() if answers else ""
    if not line:
        raise SystemExit(f"a worker ended with exit code {worker.wait()}")
    return json.loads(line)


def batches_of(texts: Sequence[str]) -> list[str]:
    """Return the texts joined to batches of about `BATCH_CHARACTERS`."""
    batches: list[list[str]] = [[]]
    size = 0
    for text in texts:
        if size >= BATCH_CHARACTERS:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text)
    return [SEPARATOR.join(batch) for batch in batches]


def random_surfaces(text: str, number: int) -> list[str]:
    """Return distinct strings: the text's letters by Zipf's law in the order of their frequency, lengths uniform."""
    letters, counts = np.unique([letter for letter in text if letter.isalpha()], return_counts=True)
    letters = letters[np.argsort(-counts, kind="stable")]
    until = np.cumsum(1 / np.arange(1, len(letters) + 1))
    draw = np.random.default_rng(1)
    found: dict[str, None] = {}
    while len(found) < number:
        sizes = draw.integers(LENGTHS[0], LENGTHS[1] + 1, size=min(number, 1 << 20))
        drawn = np.searchsorted(until, draw.random(int(sizes.sum())) * until[-1])
        spelled = "".join(letters[drawn].tolist())
        ends = np.cumsum(sizes)
        pieces = [spelled[start:end] for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True)]
        found |= dict.fromkeys(pieces[: number - len(found)])
    return sorted(found)


class Contender(NamedTuple):
    """How a matcher is built, stored and loaded; its matches in a text, and these as (start, end).

    One that cannot be stored is built from the surfaces where it is loaded.
    """

    build: Callable[[list[str]], Any]
    store: Callable[[Any, Path], object] | None
    load: Callable[[Path], Any]
    find: Callable[[Any, str], Any]
    spans: Callable[[Any], list[tuple[int, int]]]


def table_matches(table: lexicons.Lexicon, text: str) -> lexicons.Matches:
    """Return the leftmost-longest matches of the mapped table."""
    return lexicons.leftmost_longest(table.find(code_points(text)))


def daachorse_automaton(surfaces: list[str]) -> Any:
    """Build daachorse's automaton."""
    import daachorse

    return daachorse.CharwiseDoubleArrayAhoCorasick(surfaces, daachorse.MATCH_KIND_LEFTMOST_LONGEST)


def ahocorasick_automaton(surfaces: list[str]) -> Any:
    """Build ahocorasick_rs's automaton."""
    import ahocorasick_rs

    return ahocorasick_rs.AhoCorasick(surfaces, matchkind=ahocorasick_rs.MatchKind.LeftmostLongest)


CONTENDERS = {
    "ernie_pipe": Contender(
        build=lambda surfaces: lexicons.compile_lexicon(dict.fromkeys(surfaces, "LOC")),
        store=lambda compiled, path: path.write_bytes(compiled),
        load=lambda path: lexicons.load(str(path)),
        find=table_matches,
        spans=lambda found: list(zip(found.starts.tolist(), found.ends.tolist(), strict=True)),
    ),
    "daachorse": Contender(
        build=daachorse_automaton,
        store=lambda automaton, path: path.write_bytes(pickle.dumps(automaton)),
        load=lambda path: pickle.loads(path.read_bytes()),
        find=lambda automaton, text: automaton.find(text),
        spans=lambda found: [(start, end) for start, end, _ in found],
    ),
    "ahocorasick_rs": Contender(
        build=ahocorasick_automaton,
        store=None,
        load=ahocorasick_automaton,
        find=lambda automaton, text: automaton.find_matches_as_indexes(text),
        spans=lambda found: [(start, end) for _, start, end in found],
    ),
}
CONTENDERS = {name: how for name, how in CONTENDERS.items() if name == OURS or find_spec(name)}


def build(name: str, folder: Path) -> None:
    """Build and store one; print the seconds and the size."""
    contender = CONTENDERS[name]
    surfaces = json.loads((folder / "surfaces.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    built = contender.build(surfaces)
    told = {"build_s": time.perf_counter() - began, "mib_stored": 0.0}
    if contender.store:
        contender.store(built, folder / name)
        told["mib_stored"] = (folder / name).stat().st_size / 2**20
    print(json.dumps(told))


def search(name: str, folder: Path) -> None:
    """Load one, search once, print the cost; then, for each number that comes, the CPU seconds of so many searches."""
    contender = CONTENDERS[name]
    batches = json.loads((folder / "batches.json").read_text(encoding="utf-8"))
    # Surfaces to build from are in memory before and after: they are not counted.
    source: Any = folder / name
    if not contender.store:
        source = json.loads((folder / "surfaces.json").read_text(encoding="utf-8"))
    warm_up(contender, folder / f"{name}-small")
    before = memory()
    began = time.perf_counter()
    matcher = contender.load(source)
    loaded = time.perf_counter()
    for text in batches:
        contender.find(matcher, text)
    told = {"load_s": loaded - began, "first_search_s": time.perf_counter() - loaded}
    told |= {key: after - before[key] for key, after in memory().items()}
    spans = [contender.spans(contender.find(matcher, text)) for text in batches]
    digest = hashlib.blake2b(json.dumps(spans).encode(), digest_size=8).hexdigest()
    print(json.dumps(told | {"matches": sum(map(len, spans)), "digest": digest}), flush=True)
    for line in sys.stdin:
        began = time.process_time()
        for _ in range(int(line)):
            for text in batches:
                contender.find(matcher, text)
        print(time.process_time() - began, flush=True)


def warm_up(contender: Contender, path: Path) -> None:
    """Use it once with one entry, so that imports are paid for: they are no cost of a lexicon."""
    small: Any = ["一二"]
    if contender.store:
        contender.store(contender.build(small), path)
        small = path
    contender.find(contender.load(small), "一二三")


def memory() -> dict[str, float]:
    """Return the private and the mapped memory of this process in MiB (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"mib_private": "RssAnon", "mib_mapped": "RssFile"}
    return {key: int(status[name].split()[0]) / 1024 for key, name in names.items()}


def report(found: dict[str, Any]) -> None:
    """Print the table and the line of JSON."""
    costs, speeds = found["costs"], found["speeds"]
    print(
        f"{found['entries']:,} entries, {found['characters']:,} characters, {costs[OURS]['matches']:,} matches, "
        "the same of all"
    )
    columns = {
        "build_s": "build s", "mib_stored": "stored MiB", "load_s": "load s", "first_search_s": "first search s",
        "mib_private": "private MiB", "mib_mapped": "mapped MiB",
    }  # fmt: skip
    print(f"{'':<16}" + "".join(f"{title:>16}" for title in columns.values()))
    for name, cost in costs.items():
        print(f"{name:<16}" + "".join(f"{cost[key]:>16.3f}" for key in columns))
    print(f"{'':<16}{'M characters/s':>16}{'least':>16}{'most':>16}{'to ernie_pipe':>16}")
    ratios = {name: [ours / theirs for ours, theirs in zip(speeds[OURS], speeds[name], strict=True)] for name in speeds}
    for name, values in speeds.items():
        row = [value / 1e6 for value in (statistics.median(values), min(values), max(values))]
        row.append(1 / statistics.median(ratios[name]))
        print(f"{name:<16}" + "".join(f"{value:>16.2f}" for value in row))
    line: dict[str, Any] = {"entries": found["entries"], "mchar_per_s": statistics.median(speeds[OURS]) / 1e6}
    line |= {f"ratio_to_{name}": statistics.median(ratio) for name, ratio in ratios.items() if name != OURS}
    line |= {key: costs[OURS][key] for key in ("load_s", "mib_private", "mib_mapped", "mib_stored")}
    print(json.dumps({key: round(value, 4) for key, value in line.items()}))


if __name__ == "__main__":
    sys.exit(main())
