"""A click log → pairs: strong, weak, and what tells nothing."""

import gather_clicks
import pyarrow.parquet as pq
import pytest

from ernie_pipe.config import validate
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.errors import InputError
from ernie_pipe.text.document import Split, plan_splits, read

# session, query, title, rank, clicked
LOG = """a	米饭	煮米饭的办法	1	0
a	米饭	电饭煲	2	1
a	米饭	米的种类	3	0
b	米饭	煮米饭的办法	1	1
b	米饭	电饭煲	2	0
a	西湖	西湖地图	1	0
a	西湖	西湖诗词	2	1
b	天气	今天的天气	1	0
b	天气
"""
COLUMNS = {"session": "1", "query": "2", "title": "3", "rank": "4", "clicked": "5"}


def gather(write, tmp_path, log=LOG, **options):
    path = write("log.txt", log if isinstance(log, bytes) else log.encode("gb18030"))
    settings = validate(
        gather_clicks.ClickSettings,
        {"input": [str(path)], "output": str(tmp_path / "pairs"), **COLUMNS, **options},
        where="",
    )
    made = gather_clicks.gather(settings, overwrite=True)
    rows = [row for shard in made.shards for row in pq.read_table(f"{tmp_path}/pairs/{shard['name']}").to_pylist()]
    return {row["title"]: row["label"] for row in rows}, made.counts, rows


def test_clicked_is_strong_seen_is_weak_and_what_stood_below_is_left_out(spark, write, tmp_path):
    labels, counts, rows = gather(write, tmp_path)
    assert labels == {"煮米饭的办法": "strong", "电饭煲": "strong", "西湖地图": "weak", "西湖诗词": "strong"}
    assert (counts["in"], counts["kept"], counts["rejected"], counts["unseen"]) == (9, 8, 1, 2)
    assert (counts["pairs"], counts["queries"], counts["strong"], counts["weak"]) == (4, 2, 3, 1)
    assert {row["title"]: (row["shown"], row["clicks"]) for row in rows}["煮米饭的办法"] == (2, 1)
    (shard,) = manifests.read(str(tmp_path / "pairs"), "clicks").rejected_shards
    (bad,) = pq.read_table(tmp_path / "pairs" / "_rejected" / shard["name"]).to_pylist()
    assert (bad["line"], bad["reason"]) == (9, "no such column")


def test_the_pairs_are_documents_for_segment(spark, write, tmp_path):
    gather(write, tmp_path)
    planned = plan_splits(str(tmp_path / "pairs"), Split("", "s", ""), split_bytes=1 << 20)
    records = [item for split, _ in planned if split.format == "parquet" for item in read(split)]
    assert {(record.text, record.label) for record in records} >= {("西湖\n西湖地图", "weak")}
    assert all([role for _, role in record.segments] == ["query", "title"] for record in records)


def test_fewer_clicks_than_asked_for_are_weak(spark, write, tmp_path):
    log = "a\t米饭\t煮米饭\t1\t1\nb\t米饭\t煮米饭\t1\t1\nb\t米饭\t电饭煲\t2\t1\n"
    labels, *_ = gather(write, tmp_path, log, min_clicks=2)
    assert labels == {"煮米饭": "strong", "电饭煲": "weak"}


def test_without_ranks_all_that_was_shown_was_seen(spark, write, tmp_path):
    labels, counts, _ = gather(write, tmp_path, rank="")
    assert (labels["米的种类"], labels["今天的天气"], counts["unseen"]) == ("weak", "weak", 0)


def test_addresses_become_titles(spark, write, tmp_path):
    names = write("titles.tsv", "煮米饭的办法\t新的题目\n电饭煲\t新的题目\n西湖地图\t地图\n没有\n")
    labels, counts, rows = gather(write, tmp_path, titles=str(names))
    assert labels == {"新的题目": "strong", "地图": "weak"}
    assert counts["without_title"] == 1
    assert (counts["titles"]["in"], counts["titles"]["rejected"]) == (4, 1)
    assert {row["title"]: row["clicks"] for row in rows} == {"新的题目": 2, "地图": 0}


def test_a_log_without_a_usable_line_is_refused(spark, write, tmp_path):
    with pytest.raises(InputError, match=r"no usable line of 2 \(2 no such column\) with --query 2, --title 3"):
        gather(write, tmp_path, "a\nb\n")


def test_columns_are_of_one_kind(write, tmp_path):
    with pytest.raises(InputError, match="not both"):
        gather(write, tmp_path, title="title")
