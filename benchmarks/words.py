"""Word engines: speed, agreement, and what a user dictionary of a million words costs.

    python benchmarks/words.py --data corpus.jsonl [--words 1000000]

The dictionary is made of random substrings of the text. Each engine runs in a process of its own, so that its memory
is its own. Prints a table and, last, one JSON line.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_pipe.text import user_dictionary
from ernie_pipe.text.words import load_engine

ENGINES = ("rjieba", "jieba")
# jieba is twenty times slower: it cuts this share of the paragraphs for its speed.
SHARE = {"rjieba": 1, "jieba": 10}


def main() -> None:
    """Measure each engine, then compare what they cut."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="jsonl with `text`, or plain text with a paragraph a line")
    parser.add_argument("--words", type=int, default=1_000_000, help="words of the user dictionary")
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "DICTIONARY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    texts = read(args.data)
    if args.worker:
        print(json.dumps(measure(args.worker[0], args.worker[1], texts)))
        return
    with tempfile.TemporaryDirectory() as folder:
        source, merged = Path(folder) / "words.txt", Path(folder) / "merged.tsv"
        source.write_text(random_words(texts, args.words), encoding="utf-8")
        began = time.perf_counter()
        merged.write_bytes(user_dictionary.merge([str(source)]))
        result: dict[str, Any] = {"benchmark": "words", "words": args.words, "merge_s": since(began)}
        for name in ENGINES:
            command = [sys.executable, __file__, "--data", args.data, "--worker", name, str(merged)]
            result[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        result["paragraphs"] = len(texts)
        result["differ"] = differing(texts, "")
        result["differ_with_words"] = differing(texts, str(merged))
    show(result)
    print(json.dumps(result))


def measure(name: str, dictionary: str, texts: Sequence[str]) -> dict[str, float]:
    """Return speed (the best of three runs), and seconds and memory with and without the dictionary."""
    began = time.perf_counter()
    engine = load_engine(name)
    engine.cut("哈")
    found = {"load_s": since(began), "memory_mib": memory()}
    part = texts[:: SHARE[name]]
    best = min(seconds_to_cut(engine, part) for _ in range(3))
    found["mchar_per_s"] = round(sum(map(len, part)) / best / 1e6, 2)
    del engine
    began = time.perf_counter()
    engine = load_engine(name, user_dictionary=dictionary)
    engine.cut("哈")
    return found | {"load_with_words_s": since(began), "memory_with_words_mib": memory()}


def seconds_to_cut(engine: Any, texts: Sequence[str]) -> float:
    """Return the seconds that one pass takes."""
    began = time.perf_counter()
    for text in texts:
        engine.cut(text)
    return time.perf_counter() - began


def differing(texts: Sequence[str], dictionary: str) -> int:
    """Return how many paragraphs the two engines cut differently, HMM off."""
    ours, theirs = (load_engine(name, user_dictionary=dictionary or None) for name in ENGINES)
    return sum(ours.cut(text) != theirs.cut(text) for text in texts)


def read(path: str) -> list[str]:
    """Return the paragraphs of a file."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines if line] if path.endswith(".jsonl") else lines
    return [line for text in texts for line in text.splitlines() if line.strip()]


def random_words(texts: Sequence[str], number: int) -> str:
    """Return a dictionary of distinct substrings, half of them with a character that makes them rare."""
    draw = random.Random(1)
    text = "".join(character for text in texts for character in text if "\u4e00" <= character <= "\u9fa5")
    words: set[str] = set()
    while len(words) < number:
        start = draw.randrange(len(text) - 6)
        words.add(text[start : start + draw.randint(2, 6)] + draw.choice(["", chr(draw.randrange(0x4E00, 0x9000))]))
    return "".join(f"{word} {draw.randint(1, 500)} n\n" for word in sorted(words))


def memory() -> int:
    """Return the memory that this process holds, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def since(began: float) -> float:
    """Return the seconds since `began`."""
    return round(time.perf_counter() - began, 2)


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{result['words']:,} words merged in {result['merge_s']} s")
    print(f"{'':<10}{'M char/s':>10}{'load':>10}{'memory':>12}{'with words':>12}{'memory':>12}")
    for name in ENGINES:
        row = result[name]
        print(
            f"{name:<10}{row['mchar_per_s']:>10}{row['load_s']:>8} s{row['memory_mib']:>8} MiB"
            f"{row['load_with_words_s']:>10} s{row['memory_with_words_mib']:>8} MiB"
        )
    print(f"paragraphs cut differently, of {result['paragraphs']:,}: {result['differ']}; with the words: ", end="")
    print(result["differ_with_words"])


if __name__ == "__main__":
    main()
