"""A job as a cluster starts it: by `spark-submit`, in a Python without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_pipe import resources
from ernie_pipe.corpus.manifest import read

SUBMIT = Path(sys.executable).with_name("spark-submit")


def environment(*first):
    """The environment with these folders, and the checkout, first on Python's path; no session of ours in it."""
    path = os.pathsep.join([*map(str, first), str(resources.folder("spark_jobs").parent)])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK_GATEWAY", "SPARK_ENV"))}
    return {**kept, "PYTHONPATH": path, "PYSPARK_PYTHON": sys.executable}


@pytest.mark.skipif(not SUBMIT.is_file(), reason="no spark-submit beside this Python")
def test_spark_submit_segments_without_torch(write, tmp_path):
    raw = write("a.jsonl", json.dumps({"text": "哈尔滨是黑龙江的省会。"}))
    for name in ("torch", "transformers"):
        write(f"without/{name}.py", f"raise RuntimeError('{name} was imported')")
    command = [
        SUBMIT, "--master", "local[1]", "--conf", "spark.ui.enabled=false",
        resources.folder("spark_jobs") / "segment_corpus.py", "--input", raw, "--output", tmp_path / "out",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(tmp_path / "without"), cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 documents, 11 characters" in done.stdout
    assert read(str(tmp_path / "out"), "segmented").counts["kept"] == 1
