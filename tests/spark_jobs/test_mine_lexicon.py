"""The mining job finds what a plain program finds, however its input is cut; its file is a lexicon."""

import itertools
import json
import math
import random
from collections import Counter, defaultdict

import inputs
import mine_lexicon
import ngrams
import pytest
import segment_corpus

from ernie_pipe.corpus.manifest import read
from ernie_pipe.errors import InputError
from ernie_pipe.text import mining
from ernie_pipe.text.lexicon_files import read_lexicons
from ernie_pipe.text.words import load_engine

pytestmark = pytest.mark.usefixtures("spark")

SETTINGS = {"min_count": 3, "min_pmi": 1.0, "min_entropy": 0.5, "max_words": 4, "size": 40}
WORDS = [
    "哈尔滨",
    "冰雪",
    "大世界",
    "黑龙江",
    "省会",
    "松花江",
    "防洪",
    "纪念塔",
    "的",
    "是",
    "在",
    "中央",
    "大街",
    "看见",
]
PHRASES = ["哈尔滨冰雪大世界", "防洪纪念塔", "东北林业大学", "中央大街", "黄河长江"]


def corpus(seed, documents=60):
    """Random sentences in which some words stand together more often than by chance."""
    rng = random.Random(seed)
    pieces = WORDS + PHRASES * 2 + ["，", "。", "\n", " ", "2008", "GDP"]
    return ["".join(rng.choices(pieces, k=rng.randint(1, 40))) + "。" for _ in range(documents)]


def plain_mining(texts, limits):
    """What the job must find, by dictionaries and enumeration: [(surface, words, count, pmi, score)] best first."""
    sides = defaultdict(lambda: (Counter(), Counter()))
    inside = Counter()
    engine = load_engine("rjieba")
    for text in texts:
        words = engine.cut(text)
        inside.update(
            word[a:b]
            for word in words
            for a in range(len(word))
            for b in range(a + 1, len(word) + 1)
            if word[a:b] != word
        )
        kinds = [
            word if all("一" <= character <= "鿿" for character in word)
            else mining.NUMBER if word.isdigit() else mining.LETTER if word.isalnum() else mining.BORDER
            for word in [",", *words, ","]
        ]  # fmt: skip
        for start, size in itertools.product(range(1, len(words) + 1), range(1, limits.max_words + 1)):
            gram = tuple(kinds[start : start + size])
            if len(gram) == size and not {mining.NUMBER, mining.LETTER, mining.BORDER} & set(gram):
                sides[gram][0][kinds[start - 1]] += 1
                sides[gram][1][kinds[start + size]] += 1
    places = Counter()
    for gram, (left, _) in sides.items():
        places[len(gram)] += left.total()

    def p(gram):
        return sides[gram][0].total() / places[len(gram)]

    def pmi(gram):
        cuts = [cut for n in range(1, len(gram)) for cut in itertools.combinations(range(1, len(gram)), n)]
        parts = [[gram[a:b] for a, b in itertools.pairwise([0, *cut, len(gram)])] for cut in cuts]
        return min(math.log(p(gram) / math.prod(map(p, cut))) for cut in parts)

    good = [
        ("".join(gram), len(gram), left.total(), pmi(gram))
        for gram, (left, right) in list(sides.items())
        if len(gram) > 1 and left.total() >= limits.min_count and not mining.is_framed(" ".join(gram))
        and left.total() >= inside["".join(gram)]
        and min(mining.entropy(left), mining.entropy(right)) >= limits.min_entropy and pmi(gram) >= limits.min_pmi
    ]  # fmt: skip
    found = []
    for size, most in mining.quotas(limits.size, limits.max_words).items():
        best = sorted((row for row in good if row[1] == size), key=lambda row: (-round(row[3], 9), -row[2]))[:most]
        found += [(*row, score) for row, score in zip(best, mining.rank_scores(len(best)), strict=True)]
    return sorted(found, key=lambda row: (-row[4], row[1]))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A folder of four files of random documents."""
    folder = tmp_path_factory.mktemp("mine") / "raw"
    folder.mkdir()
    for number in range(4):
        lines = (json.dumps({"text": text}) for text in corpus(seed=1)[number::4])
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def mined(raw, spark):
    """The lexicon that the job made of `raw`."""
    path = raw.parent / "mined.tsv"
    run(path, "--input", raw)
    return path


def run(output, *arguments, **settings):
    flags = [
        word for name, value in {**SETTINGS, **settings}.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    assert mine_lexicon.main(["--output", str(output), *map(str, [*arguments, *flags])]) == 0
    return rows(output)


def rows(path):
    return [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("# ")]


def test_the_job_finds_what_a_plain_program_finds(mined):
    expected = plain_mining(corpus(seed=1), mining.Limits(**SETTINGS, function_words=False))
    found = rows(mined.with_name("mined.review.tsv"))
    assert {int(row[2]) for row in found} == {2, 3, 4}
    assert [(int(row[2]), int(row[3])) for row in found] == [row[1:3] for row in expected]
    assert [float(row[5]) for row in found] == pytest.approx([row[3] for row in expected], rel=1e-5)
    assert {row[0] for row in found} == {row[0] for row in expected}
    assert {"防洪纪念塔", "东北林业大学"} <= {row[0] for row in found}


def test_the_cut_of_the_input_changes_nothing(raw, mined, tmp_path, monkeypatch):
    whole = inputs.tasks
    monkeypatch.setattr(
        inputs, "tasks",
        lambda *arguments: [
            {"number": number, "splits": [split]}
            for number, split in enumerate(split for task in whole(*arguments) for split in task["splits"])
        ],
    )  # fmt: skip
    monkeypatch.setattr(ngrams, "MOST_WINDOWS", 10)
    monkeypatch.setattr(ngrams, "BATCH_ROWS", 7)
    run(tmp_path / "four.tsv", "--input", raw)
    for ending in (".tsv", ".review.tsv"):
        assert (tmp_path / f"four{ending}").read_bytes() == mined.with_name(f"mined{ending}").read_bytes()


def test_the_file_is_a_lexicon_and_segmented_documents_are_input(raw, mined, tmp_path):
    scores = [float(score) for _, _, score in rows(mined)]
    assert scores == sorted(scores, reverse=True)
    assert read_lexicons([str(mined)]).phrases == {surface for surface, _, _ in rows(mined)}
    segmented = str(tmp_path / "segmented")
    assert segment_corpus.main(["--input", str(raw), "--output", segmented, "--lexicon", str(mined)]) == 0
    assert read(segmented, "segmented").counts["units"]["phrase"] > 100
    assert run(tmp_path / "again.tsv", "--input", segmented) == rows(mined)


def test_a_finished_result_stays_as_its_reviewer_left_it(raw, mined, tmp_path, capsys):
    path = tmp_path / "p.tsv"
    reviewed = "".join(mined.read_text().splitlines(keepends=True)[:-1])
    path.write_text(reviewed)
    run(path, "--input", raw)
    assert path.read_text() == reviewed
    assert "already done with this configuration; left as it is" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"another configuration \(differs: min_count\)"):
        run(path, "--input", raw, min_count=4)
    run(path, "--input", raw, "--overwrite", min_count=4)
    assert '"min_count": 4' in path.read_text()


def test_only_its_own_file_is_replaced(raw, write, tmp_path):
    path = write("own.tsv", "哈尔滨\tLOC\n")
    with pytest.raises(InputError, match="was not made by `ernie-pipe mine`"):
        run(path, "--input", raw)
    for name in (".", "p.tsv.gz"):
        with pytest.raises(InputError, match="give the name of a plain file"):
            run(tmp_path / name, "--input", raw)
    assert path.read_text() == "哈尔滨\tLOC\n"


def test_every_record_is_counted_and_rejected_ones_are_shown(raw, write, tmp_path, capsys):
    bad = write("bad.jsonl", '{\n{"text": " "}\n')
    run(tmp_path / "p.tsv", "--input", raw, bad)
    assert "records in 62 = kept 60 + rejected 2 + duplicate 0" in (tmp_path / "p.tsv").read_text()
    said = capsys.readouterr()
    assert "2 of 62 records rejected, 1 not JSON, 1 empty" in said.out
    assert "bad.jsonl, line 1: not JSON" in said.err


def test_what_a_lexicon_has_can_be_left_out(raw, mined, write, tmp_path):
    known = write("known.tsv", "防洪纪念塔\tLOC\n东北林业大学\tPHRASE\n")
    found = {surface for surface, _, _ in run(tmp_path / "p.tsv", "--input", raw, "--exclude", known)}
    assert found == {surface for surface, _, _ in rows(mined)} - {"防洪纪念塔", "东北林业大学"}


@pytest.mark.parametrize(("names", "expected"), [(3, ["小平"]), (4, [])])
def test_what_stands_more_often_inside_words_is_left_out(write, tmp_path, names, expected):
    engine = load_engine("rjieba")
    assert [engine.cut(text) for text in ("小平", "邓小平")] == [["小", "平"], ["邓小平"]]
    text = write("a.txt", "小平。" * 3 + "邓小平。" * names + "哈尔滨冰雪。" * 3)
    found = run(tmp_path / "p.tsv", "--input", text, min_entropy=0)
    assert sorted(row[0] for row in found) == sorted([*expected, "哈尔滨冰雪"])


def test_nothing_to_find_is_said(write, tmp_path):
    text = write("a.txt", "哈尔滨是省会。")
    with pytest.raises(InputError, match="in 7 characters no n-gram occurs 3 times"):
        run(tmp_path / "p.tsv", "--input", text)
    text.write_text("哈尔滨冰雪。" * 3)
    with pytest.raises(InputError, match="of 1 n-grams that occur 3 times none has --min-pmi 9"):
        run(tmp_path / "p.tsv", "--input", text, min_pmi=9)
    text.write_text(" ")
    with pytest.raises(InputError, match=r"0 usable records of 1 in the input \(1 empty\)"):
        run(tmp_path / "p.tsv", "--input", text)
    assert not (tmp_path / "p.tsv").exists()
