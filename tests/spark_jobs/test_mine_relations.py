"""The job finds the pairs that the rules find, once each; its shards are input of `segment`."""

import json
from collections import Counter

import mine_relations
import pytest
import segment_corpus

from ernie_pipe import resources
from ernie_pipe.corpus.manifest import find, read
from ernie_pipe.errors import InputError
from ernie_pipe.text import document
from ernie_pipe.text.connective_inventory import RELATIONS, parse, read_text
from ernie_pipe.text.connectives import RelationMiner
from ernie_pipe.text.words import load_engine

pytestmark = pytest.mark.usefixtures("spark")
SAMPLE = resources.sample() / "discourse.jsonl"
LONG = "老人们年年春天都要在村外的河边种上一排柳树"


def settings(output, *paths, **changes):
    return mine_relations.RelationSettings(input=[str(path) for path in paths], output=str(output), **changes)


def pairs(folder):
    """The records of a result in order: (relation, arg1, arg2)."""
    made = read(str(folder), "relations")
    lines = [line for shard in made.shards for line in (folder / shard["name"]).read_text("utf-8").splitlines()]
    rows = [json.loads(line) for line in lines]
    return [(row["label"], *(turn["text"] for turn in row["turns"])) for row in rows]


def jsonl(*texts):
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory):
    """The pairs of the sample."""
    folder = tmp_path_factory.mktemp("relations") / "pairs"
    mine_relations.mine(settings(folder, SAMPLE))
    return folder


def test_the_pairs_are_those_of_the_rules(made):
    texts = [json.loads(line)["text"] for line in SAMPLE.read_text("utf-8").splitlines()]
    found = RelationMiner(parse(read_text()), load_engine("rjieba")).find(texts, Counter())
    assert sorted(pairs(made)) == sorted((pair.relation, pair.arg1, pair.arg2) for _, pair in found)


def test_the_counts_add_up(made):
    counts = read(str(made), "relations").counts
    assert counts["in"] == counts["kept"] + counts["rejected"] + counts["duplicate"] == 90
    assert list(counts["relations"]) == list(RELATIONS)
    for of in [*counts["relations"].values(), counts["pairs"]]:
        assert of["found"] == of["duplicate"] + of["over_limit"] + of["kept"]
    for name, of in counts["relations"].items():
        assert of["kept"] == sum(relation == name for relation, *_ in pairs(made))
        assert sum(of["connectives"].values()) == of["found"]


def test_the_report_has_a_line_for_each_relation(made, capsys):
    print(mine_relations.report("out", read(str(made), "relations").counts))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(RELATIONS)]] == list(RELATIONS)
    assert lines[-1].startswith("out: ")
    assert "0 of 90 records rejected" in lines[-1]


def test_segment_reads_the_pairs_with_their_roles_and_labels(made, tmp_path):
    segmented = segment_corpus.segment(
        segment_corpus.SegmentSettings(input=[str(made)], output=str(tmp_path / "segmented"))
    )
    assert segmented.counts["kept"] == len(pairs(made))
    shard = read(str(made), "relations").shards[0]
    record = next(document.read(document.Split(str(made / shard["name"]), "s", "jsonl")))
    assert [role for _, role in record.segments] == ["arg1", "arg2"]
    assert record.label in RELATIONS


def test_again_does_nothing_and_another_configuration_is_refused(made, capsys):
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    mine_relations.mine(settings(made, SAMPLE))
    assert "already done" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before
    with pytest.raises(InputError, match="another configuration \\(differs: seed\\)"):
        mine_relations.mine(settings(made, SAMPLE, seed=1))


def test_a_limit_draws_the_same_pairs_however_the_input_is_cut(made, write, tmp_path):
    lines = SAMPLE.read_text("utf-8").splitlines(keepends=True)
    halves = [write("halves/a.jsonl", "".join(lines[1::2])), write("halves/b.jsonl", "".join(lines[::2]))]
    drawn = []
    for name, paths, seed in (("whole", [SAMPLE], 0), ("halves", [halves[0].parent], 0), ("seed", [SAMPLE], 1)):
        mine_relations.mine(settings(tmp_path / f"out-{name}", *paths, max_per_relation=5, seed=seed))
        drawn.append(pairs(tmp_path / f"out-{name}"))
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) < set(pairs(made))
    assert set(Counter(relation for relation, *_ in drawn[0]).values()) == {5}


def test_duplicates_are_left_out_and_counted(write, tmp_path):
    copies = [
        f"{LONG}，因此夏天的河岸十分凉快。", f"{LONG}，因此夏天的河岸十分凉快。",  # the same
        f"{LONG}，但是河水每年都要漫上来。",  # the long first argument again
        f"{LONG} 1997！因此夏天的河岸十分凉快。",  # but for what is not Chinese
        "今天的风很大，但是他一定要出海去。", "今天的风很大，因此他没有出海打鱼。",  # short arguments may come again
    ]  # fmt: skip
    manifest = mine_relations.mine(settings(tmp_path / "out", write("in/a.jsonl", jsonl(*copies)).parent))
    assert manifest.counts["pairs"] == {
        "found": 6, "duplicate": 3, "near_duplicate": 2, "over_limit": 0, "kept": 3,
    }  # fmt: skip


def test_the_rarest_relation_bounds_the_others(write, tmp_path):
    texts = [f"第{n}天的风很大，但是{n}号船要出海去。" for n in "一二三四五六"] + ["路上全是水，因为昨夜下雨了。"]
    manifest = mine_relations.mine(
        settings(tmp_path / "out", write("a.jsonl", jsonl(*texts)), max_ratio=2, min_characters=4)
    )
    kept = {name: of["kept"] for name, of in manifest.counts["relations"].items() if of["found"]}
    assert kept == {"reason": 1, "contrast": 2}
    assert manifest.counts["pairs"]["over_limit"] == 4


def test_bad_records_are_counted_and_kept_apart(write, tmp_path):
    path = write("a.jsonl", jsonl("今天的风很大，但是他一定要出海去。") + "{broken\n" + '{"text": " "}\n')
    manifest = mine_relations.mine(settings(tmp_path / "out", path))
    assert manifest.counts["rejected_reasons"] == {"not JSON": 1, "empty": 1}
    assert len(list((tmp_path / "out" / "_rejected").iterdir())) == 1


def test_an_inventory_of_one_s_own(write, tmp_path):
    own = write("own.tsv", "不料\tsurprise\n")
    text = write("a.jsonl", jsonl("他们出海去打鱼，不料天上刮起了大风，但是没有下雨。"))
    mine_relations.mine(settings(tmp_path / "out", text, inventory=str(own)))
    assert pairs(tmp_path / "out") == [("surprise", "他们出海去打鱼", "天上刮起了大风，但是没有下雨")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (jsonl("这里没有连接词。"), "no pair found in 1 documents, 8 characters"),
        (jsonl("车站很远，但是累。"), "connectives not taken: 1 too short"),
        ("{broken\n", "nothing to mine: 0 usable records of 1 in the input \\(1 not JSON\\)"),
    ],
)
def test_nothing_found_is_a_mistake_that_says_why(text, message, write, tmp_path):
    with pytest.raises(InputError, match=message):
        mine_relations.mine(settings(tmp_path / "out", write("a.jsonl", text)))
    assert find(str(tmp_path / "out")) is None


def test_wrong_settings_stop_before_any_work(write, tmp_path):
    text = write("a.jsonl", jsonl("今天的风很大，但是他一定要出海去。"))
    with pytest.raises(InputError, match=r"own\.tsv, line 1: 1 columns"):
        mine_relations.mine(settings(tmp_path / "out", text, inventory=str(write("own.tsv", "但是 contrast\n"))))
    with pytest.raises(InputError, match="max_characters 8 is less than min_characters"):
        mine_relations.mine(settings(tmp_path / "out", text, max_characters=8, min_characters=9))
    assert not (tmp_path / "out").exists()
