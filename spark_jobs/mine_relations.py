"""Raw or segmented documents → pairs of clauses with the discourse relation between them (jsonl and a manifest).

    spark-submit spark_jobs/mine_relations.py --input PATH… --output RELATIONS

The relation is read from a connective, which is then taken out (`ernie_pipe/text/connectives.py`). Each line of the
shards is a record that `segment` reads: two turns with the roles arg1 and arg2, and the relation as its `label`.
Documents: in = kept + rejected + duplicate (no duplicates are looked for). Pairs: found = duplicate + over the limit
+ kept, for every relation.
"""

import argparse
import sys
import time
from typing import Any

import inputs
import relation_pairs
from inputs import InputSettings
from pydantic import Field

from ernie_pipe.config import add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.storage import prepare_folder
from ernie_pipe.errors import InputError
from ernie_pipe.text import connective_inventory, connectives
from ernie_pipe.text.lexicon import ENTITY_TYPES
from ernie_pipe.text.words import load_engine


class RelationSettings(InputSettings):
    """Settings of the job."""

    output: str = Field(description="folder for the pairs")
    inventory: str = Field("", description="TSV of connectives, relations and rules; empty: the one shipped")
    engine: str = Field("rjieba", description="word engine: rjieba, jieba or one from an entry point")
    hmm: bool = Field(False, description="let the engine's HMM find new words (many are junk)")
    min_characters: int = Field(6, ge=1, description="Chinese characters of an argument at least")
    max_characters: int = Field(60, ge=8, description="characters of an argument at most")
    max_per_relation: int = Field(0, ge=0, description="pairs of a relation at most, drawn by chance; 0: no limit")
    max_ratio: float = Field(0, ge=0, description="pairs of a relation at most, as multiple of the rarest; 0: no limit")
    seed: int = Field(0, description="another seed draws other pairs where there is a limit")


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe relations", description=__doc__.split("\n")[0])
    add_arguments(parser, RelationSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(RelationSettings, args)
    made = mine(settings, overwrite=args.overwrite)
    print(report(settings.output, made.counts))
    return 0


def report(output: str, counts: dict[str, Any]) -> str:
    """Return what a person wants to know: pairs of each relation, and what was not taken."""
    lines = [f"{'relation':<14}{'found':>9}{'duplicate':>11}{'over limit':>12}{'kept':>9}  commonest connectives"]
    for name, of in counts["relations"].items():
        commonest = ", ".join(sorted(of["connectives"], key=lambda word: (-of["connectives"][word], word))[:4])
        lines.append(
            f"{name:<14}{of['found']:>9}{of['duplicate']:>11}{of['over_limit']:>12}{of['kept']:>9}  {commonest}"
        )
    pairs = counts["pairs"]
    skipped = ", ".join(f"{number} {reason}" for reason, number in sorted(counts["skipped"].items()))
    lines.append(f"connectives found and not taken: {skipped or 'none'}")
    lines.append(
        f"{output}: {pairs['kept']} pairs of {pairs['found']} ({pairs['duplicate']} duplicates, of them "
        f"{pairs['near_duplicate']} near ones) in {counts['kept']} documents, {counts['characters']} characters; "
        f"{counts['rejected']} of {counts['in']} records rejected"
        + "".join(f", {number} {reason}" for reason, number in counts["rejected_reasons"].items())
        + (f" (see {output}/{manifests.REJECTED})" if counts["rejected"] else "")
    )
    return "\n".join(lines)


def mine(settings: RelationSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Mine the sources of `settings` and commit the manifest; a finished equal result is left as it is."""
    began = time.monotonic()
    if settings.max_characters < settings.min_characters:
        raise InputError(f"max_characters {settings.max_characters} is less than min_characters: nothing can be kept")
    inventory = connective_inventory.read_text(settings.inventory)
    relations = connective_inventory.parse(inventory, settings.inventory or "connectives.tsv").relations
    splits = inputs.plan(settings, settings.output, _entity_types(settings))
    config = _config(settings, splits, inventory)
    if manifests.is_done(settings.output, "relations", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "relations")
    prepare_folder(settings.output)
    import session
    from pyspark import StorageLevel

    spark = session.start("relations")
    tasks = inputs.tasks(session, spark, splits, settings.split_mib)
    options = settings.model_dump(include={"output", "engine", "hmm", "min_characters", "max_characters", "seed"})
    found = relation_pairs.find(spark, tasks, options, inventory).persist(StorageLevel.DISK_ONLY)
    unique = relation_pairs.unique(found.filter("summary is null")).persist(StorageLevel.DISK_ONLY)
    try:
        with session.watch(spark, "relations", len(tasks)):
            summaries = relation_pairs.summaries(found)
        counts = manifests.add_up(summary["counts"] for summary in summaries)
        counts |= _counts(found.filter("summary is null"), unique, settings, relations)
        if not counts["pairs"]["kept"]:
            raise InputError(_nothing_found(counts))
        shards = relation_pairs.write(unique, counts["pairs"]["kept"], counts["limit"], settings.output)
    finally:
        # Left behind, they would answer the next run over the same paths.
        unique.unpersist()
        found.unpersist()
    manifest = manifests.Manifest(
        kind="relations",
        config=config,
        counts=counts,
        shards=shards,
        rejected_shards=[shard for summary in summaries for shard in summary["rejected_shards"]],
        details={"relations": list(relations), "inventory": inventory},
        seconds={"wall": round(time.monotonic() - began, 2)},
    )
    return manifests.commit(settings.output, manifest)


def _entity_types(settings: RelationSettings) -> list[str]:
    """The entity types that documents of the input may have: they are not looked at."""
    found = [manifests.find(source) for source in (*settings.input, *(source.path for source in settings.sources))]
    brought = [kind for manifest in found if manifest for kind in manifest.details.get("entity_types", ())]
    return list(dict.fromkeys([*ENTITY_TYPES, *brought]))


def _config(settings: RelationSettings, splits: list, inventory: str) -> dict[str, Any]:
    """Everything that determines the result."""
    engine = load_engine(settings.engine, hmm=settings.hmm)
    own = {"min_characters", "max_characters", "max_per_relation", "max_ratio", "seed", "hmm", "split_mib"}
    return {
        "input (paths, sizes, times)": inputs.fingerprint(splits),
        "engine": f"{engine.name} {engine.version}",
        "dictionary": engine.dictionary_hash,
        "inventory": manifests.content_hash(inventory),
        "correlatives": manifests.content_hash(sorted(connectives.CORRELATIVES)),
        **settings.model_dump(include=own),
    }


def _counts(found: Any, unique: Any, settings: RelationSettings, relations: tuple[str, ...]) -> dict[str, Any]:
    """Return pairs by relation: found = duplicate + over the limit + kept; in the order of the inventory."""
    from pyspark.sql import functions as F

    by_connective = {
        (row.relation, row.connective): row["count"]
        for row in found.groupBy("relation", "connective").count().collect()
    }
    different = found.agg(F.count_distinct("rank")).first()[0]
    lengths = [F.avg(F.length(name)).alias(name) for name in ("arg1", "arg2")]
    left = {
        row.relation: row for row in unique.groupBy("relation").agg(F.count("*").alias("pairs"), *lengths).collect()
    }
    limit = _limit([row.pairs for row in left.values()], settings)
    of_relations: dict[str, Any] = {}
    for name in relations:
        connectives_ = {word: number for (relation, word), number in by_connective.items() if relation == name}
        number, there = sum(connectives_.values()), left[name].pairs if name in left else 0
        kept = min(there, limit) if limit else there
        of_relations[name] = {
            "found": number,
            "duplicate": number - there,
            "over_limit": there - kept,
            "kept": kept,
            "mean_characters": [round(left[name].arg1, 1), round(left[name].arg2, 1)] if there else [],
            "connectives": dict(sorted(connectives_.items(), key=lambda item: (-item[1], item[0]))),
        }
    total = {key: sum(of[key] for of in of_relations.values()) for key in ("found", "duplicate", "over_limit", "kept")}
    total["near_duplicate"] = total["duplicate"] - (total["found"] - different)
    return {"pairs": total, "relations": of_relations, "limit": limit}


def _limit(numbers: list[int], settings: RelationSettings) -> int:
    """Return how many pairs a relation may have (0: any number)."""
    limits = [settings.max_per_relation] if settings.max_per_relation else []
    if settings.max_ratio and numbers:
        limits.append(max(1, int(settings.max_ratio * min(numbers))))
    return min(limits, default=0)


def _nothing_found(counts: dict[str, Any]) -> str:
    if not counts["kept"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected_reasons"].items())
        return f"nothing to mine: 0 usable records of {counts['in']} in the input ({reasons or 'empty'})"
    skipped = ", ".join(f"{number} {reason}" for reason, number in sorted(counts["skipped"].items()))
    return (
        f"no pair found in {counts['kept']} documents, {counts['characters']} characters "
        f"(connectives not taken: {skipped or 'none'}): give more text, or another --inventory"
    )


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
