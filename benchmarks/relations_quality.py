"""How often is the mined relation the right one? Mined labels against gold discourse relations and a lexicon of senses.

    python benchmarks/relations_quality.py --data FOLDER [--inventory TSV] [--raw PATH… --sample 50]

FOLDER holds `*.rels` and `*.conllu` of DISRPT's Chinese treebanks (zho.rst.sctb, zho.dep.scidtb) and, for the second
check, `chinese_dimlex.json`. A mined pair is compared where an annotated unit begins at its border, the nearest unit
before it being the other one; all else cannot be judged and is counted. Tables and, last, one JSON line.

Gold labels go to ours by `GOLD`; those of cause and result say by their direction which argument is the reason. A
label that is not there (elaboration of a title, attribution, background …) has no counterpart: a mined pair on it is
counted as wrong, and again without it. `--raw` mines raw text (what `ernie-pipe relations --input` reads): characters
a second of this process, pairs by relation, and some pairs drawn by chance, to be read.
"""

import argparse
import csv
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError, mistake
from ernie_pipe.text import connective_inventory, document
from ernie_pipe.text.connectives import RelationMiner
from ernie_pipe.text.words import load_engine

# Which of our relations a gold label may be; `REASON` stands for the argument that is the satellite giving a reason,
# `RESULT` for one that is the result.
REASON, RESULT = "<reason>", "<result>"
GOLD = {
    "cause": {REASON}, "exp-reason": {REASON}, "exp-evidence": {REASON}, "evidence": {REASON}, "justify": {REASON},
    "motivation": {REASON}, "result": {RESULT}, "contrast": {"contrast"}, "antithesis": {"contrast"},
    "comparison": {"contrast"}, "concession": {"contrast", "concession"}, "condition": {"condition", "concession"},
    # Whatever is coordinated, steps in their order too.
    "joint": {"conjunction", "temporal", "alternative"},
    "list": {"conjunction"}, "conjunction": {"conjunction"}, "progression": {"conjunction"},
    "sequence": {"temporal", "conjunction"}, "temporal": {"temporal"}, "elab-process_step": {"temporal", "conjunction"},
    "purpose": {"purpose"}, "enablement": {"purpose"}, "bg-goal": {"purpose"}, "disjunction": {"alternative"},
    "restatement": {"restatement"}, "summary": {"restatement"}, "elab-enumember": {"example"},
    "elaboration": {"example", "restatement"}, "elab-addition": {"conjunction", "example", "restatement"},
}  # fmt: skip
# PDTB-3 senses (their beginnings) that our relations stand for.
SENSES = {
    "result": ("CONTINGENCY:Cause:Result", "CONTINGENCY:Cause+Belief:Result", "CONTINGENCY:Cause+SpeechAct:Result"),
    "reason": ("CONTINGENCY:Cause:Reason", "CONTINGENCY:Cause+Belief:Reason", "CONTINGENCY:Cause+SpeechAct:Reason"),
    "contrast": ("COMPARISON:",),
    "concession": ("COMPARISON:Concession", "CONTINGENCY:Condition"),
    "condition": ("CONTINGENCY:Condition", "CONTINGENCY:Negative"),
    "conjunction": ("EXPANSION:Conjunction", "TEMPORAL:Synchronous"),
    "example": ("EXPANSION:Instantiation",),
    "restatement": ("EXPANSION:Equivalence", "EXPANSION:Level-of-detail"),
    "temporal": ("TEMPORAL:",),
    "purpose": ("CONTINGENCY:Purpose",),
    "alternative": ("EXPANSION:Disjunction", "EXPANSION:Substitution"),
}


def main() -> int:
    """Score what the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder with .rels, .conllu and chinese_dimlex.json")
    parser.add_argument("--inventory", default="", help="inventory of connectives (default: the shipped one)")
    parser.add_argument("--raw", nargs="*", default=[], help="raw text to mine: files or folders")
    parser.add_argument("--sample", type=int, default=0, help="pairs of the raw text to print")
    parser.add_argument("--show", action="store_true", help="print every pair that disagrees")
    args = parser.parse_args()
    try:
        name = args.inventory or "connectives.tsv"
        inventory = connective_inventory.parse(connective_inventory.read_text(args.inventory), name)
        result = score(Path(args.data), inventory, show=args.show)
        if args.raw:
            result["raw"] = mine_raw(args.raw, inventory, args.sample)
        print(json.dumps(result, ensure_ascii=False))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    return 0


def score(folder: Path, inventory: connective_inventory.Inventory, *, show: bool) -> dict[str, Any]:
    """Print the tables; return their figures."""
    treebanks = sorted({path.name.rsplit("_", 1)[0] for path in folder.glob("*.rels")})
    if not treebanks:
        raise InputError(f"--data {folder}: no *.rels there")
    miner = RelationMiner(inventory, load_engine("rjieba", hmm=False))
    result: dict[str, Any] = {"benchmark": "relations_quality"}
    for name in treebanks:
        result[name] = _table(name, *score_treebank(folder, name, miner, show=show))
    dimlex = folder / "chinese_dimlex.json"
    if dimlex.is_file():
        result["dimlex"] = score_senses(dimlex, inventory, show=show)
    return result


def _table(name: str, judged: dict[str, Counter[str]], seen: Counter[str]) -> dict[str, Any]:
    print(f"\n{name}: {seen['documents']} documents, {seen['relations']} gold relations, {seen['mined']} pairs mined, "
          f"{seen['judged']} stand at a gold border")  # fmt: skip
    print(f"{'relation':<14}{'judged':>8}{'right':>8}{'other':>8}{'unmapped':>10}{'precision':>11}")
    total: Counter[str] = Counter()
    for relation, counts in [*judged.items(), ("all", total)]:
        total.update(counts if relation != "all" else {})
        number = counts.total()
        print(f"{relation:<14}{number:>8}{counts['right']:>8}{counts['other']:>8}{counts['unmapped']:>10}"
              f"{counts['right'] / max(1, number):>11.3f}")  # fmt: skip
    named = total["right"] + total["other"]
    return {
        "mined": seen["mined"],
        "judged": total.total(),
        "gold": seen["relations"],
        "precision": round(total["right"] / max(1, total.total()), 3),
        "precision_mapped": round(total["right"] / max(1, named), 3),
        "relations": {relation: dict(counts) for relation, counts in judged.items()},
    }


def score_treebank(
    folder: Path, name: str, miner: RelationMiner, *, show: bool
) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Return, by mined relation, how many pairs are right, other, or on a gold label without a counterpart."""
    judged: dict[str, Counter[str]] = defaultdict(Counter)
    seen: Counter[str] = Counter()
    for rels in sorted(folder.glob(f"{name}_*.rels")):
        texts = read_documents(rels.with_suffix(".conllu"))
        gold = read_relations(rels)
        for identifier, (text, starts) in texts.items():
            rows = gold.get(identifier, [])
            seen.update(documents=1, relations=len(rows))
            for _, pair in miner.find([text], Counter()):
                seen["mined"] += 1
                row = _row_at(rows, starts, pair.at)
                if row is None:
                    continue
                seen["judged"] += 1
                wanted = _ours(row["label"], row["dir"])
                verdict = "unmapped" if not wanted else "right" if pair.relation in wanted else "other"
                judged[pair.relation][verdict] += 1
                if show and verdict != "right":
                    print(f"  {verdict}: {pair.relation} ({pair.connective}), gold {row['label']} {row['dir']}: "
                          f"{pair.arg1} || {pair.arg2}")  # fmt: skip
    return dict(sorted(judged.items())), seen


def read_documents(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Return of every document its text and where each token (from number 1 on) begins."""
    documents: dict[str, tuple[str, list[int]]] = {}
    name, text, starts = "", "", [0]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# newdoc"):
            name, text, starts = line.partition("=")[2].strip(), "", [0]
        elif line and line[0].isdigit() and re.match(r"\d+\t", line):
            word = line.split("\t")[1]
            # Only between Latin words did a space stand.
            text += " " if text and text[-1].isascii() and text[-1].isalnum() and word[0].isascii() else ""
            starts.append(len(text))
            text += word
        documents[name] = (text, starts)
    return documents


def read_relations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a .rels file by document, with the first token of either unit and the last of the first."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            units = sorted(_bounds(row[key]) for key in ("unit1_toks", "unit2_toks"))
            found[row["doc"]].append({**row, "end": units[0][1], "border": units[1][0]})
    return found


def _bounds(tokens: str) -> tuple[int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", tokens)]
    return numbers[0], numbers[-1]


def _row_at(rows: list[dict[str, Any]], starts: list[int], at: int) -> dict[str, Any] | None:
    """Return the relation whose later unit begins at the character `at`, its earlier unit the nearest before it."""
    here = [row for row in rows if starts[row["border"]] == at and row["end"] < row["border"]]
    return max(here, key=lambda row: row["end"], default=None)


def _ours(label: str, direction: str) -> set[str]:
    """Return which of our relations a gold label may be. `1>2`: the first unit is the satellite (it gives the name)."""
    wanted = GOLD.get(label, set())
    if wanted & {REASON, RESULT}:
        first_is_reason = (direction == "1>2") == (REASON in wanted)
        return {"result" if first_is_reason else "reason"}
    return wanted


def score_senses(path: Path, inventory: connective_inventory.Inventory, *, show: bool) -> dict[str, Any]:
    """Compare our single connectives with the senses of a lexicon of connectives."""
    senses: dict[str, set[str]] = defaultdict(set)
    for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]:
        found = {sense["sense"] for syn in entry["syn"] for sem in syn["sem"] for sense in sem["pdtb3_relation"]}
        for form in (part["t"] for orth in entry["orths"]["orth"] for part in orth["part"]):
            senses[form] |= found
    counts: Counter[str] = Counter()
    for word, entries in inventory.entries.items():
        # A connective that opens the first argument names the same relation.
        ours = {entry.relation for entry in entries if not entry.seconds}
        if not ours or word not in senses:
            counts["not in the lexicon"] += bool(ours)
            continue
        agree = any(sense.startswith(SENSES.get(relation, ())) for relation in ours for sense in senses[word])
        counts["agree" if agree else "differ"] += 1
        if show and not agree:
            print(f"  {word}: ours {', '.join(sorted(ours))}, the lexicon's {', '.join(sorted(senses[word]))}")
    both = counts["agree"] + counts["differ"]
    print(f"\n{path.name}: {both} of our single connectives are in it; {counts['agree']} have a sense of our relation "
          f"({counts['agree'] / max(1, both):.1%})")  # fmt: skip
    return dict(counts)


def mine_raw(paths: list[str], inventory: connective_inventory.Inventory, sample: int) -> dict[str, Any]:
    """Print how fast raw text is mined, what comes out, and some pairs."""
    template = document.Split(path="", source="raw", format="")
    splits = [split for path in paths for split, _ in document.plan_splits(path, template, split_bytes=1 << 40)]
    records = (item for split in splits for item in document.read(split))
    texts = [record.text for record in records if isinstance(record, document.Record)]
    miner = RelationMiner(inventory, load_engine("rjieba", hmm=False))
    miner.find(texts[:10], Counter())
    skipped: Counter[str] = Counter()
    began = time.process_time()
    pairs = [pair for first in range(0, len(texts), 200) for _, pair in miner.find(texts[first : first + 200], skipped)]
    seconds = time.process_time() - began
    characters = sum(map(len, texts))
    counts = Counter(pair.relation for pair in pairs)
    print(f"\nraw: {len(texts)} documents, {characters} characters, {characters / seconds / 1e6:.2f} M characters/s; "
          f"{len(pairs)} pairs: {', '.join(f'{name} {counts[name]}' for name in inventory.relations)}; not taken: "
          f"{', '.join(f'{number} {reason}' for reason, number in skipped.most_common())}")  # fmt: skip
    for number, pair in enumerate(random.Random(50).sample(pairs, min(sample, len(pairs))), start=1):
        print(f"{number:>4} {pair.relation} ({pair.connective}): {pair.arg1} || {pair.arg2}")
    return {"characters": characters, "mchar_per_s_core": round(characters / seconds / 1e6, 2), "pairs": len(pairs)}


if __name__ == "__main__":
    sys.exit(main())
