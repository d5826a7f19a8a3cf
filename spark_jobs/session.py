"""Spark for all jobs: one session, one way to run tasks that write shards and hand back a summary row.

A task is a mapping; `work(task)` runs in a Python worker and returns a mapping that JSON can hold. Shards get
attempt-unique names and only a manifest commits them, so retried and speculative attempts do no harm.
"""

import atexit
import gc
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from ernie_pipe.environment import check_java
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.progress import Progress

SUMMARY = "task long, summary string"
# Workers make and drop arrays of some megabytes all the time. By default glibc hands each back to the system and
# gets it anew, page by page, which costs a fifth of a worker's time; so up to 256 MiB stay with the worker.
WORKER_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 28)}
# Arrow goes straight through `mapInArrow`: no pandas object is ever made, whatever its version.
warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")


def start(name: str) -> SparkSession:
    """Return the running session (of `spark-submit`, of a notebook) or start an embedded one on all cores."""
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted and SparkSession.getActiveSession() is None:
        check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(f"ernie_pipe {name}")
    for variable, value in WORKER_ENVIRONMENT.items():
        builder = builder.config(f"spark.executorEnv.{variable}", os.environ.get(variable, value))
    if not submitted:
        builder = (
            builder.master(os.environ.get("SPARK_MASTER", "local[*]"))
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.shuffle.partitions", "8")
            .config("spark.driver.memory", os.environ.get("SPARK_DRIVER_MEMORY", "2g"))
            .config("spark.log.level", "ERROR")
        )
        if builder._options.get("spark.master", "").startswith("local"):
            builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    with _quiet_start():
        spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    return spark


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep the JVM's start-up chatter off a person's terminal; an error brings it back."""
    if not hasattr(sys.stderr, "fileno") or SparkSession.getActiveSession() is not None:
        yield
        return
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            log.seek(0)
            sys.stderr.write(log.read().decode("utf-8", "replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def ship(spark: SparkSession, name: str, data: bytes) -> str:
    """Send `data` to every worker as a file; return the name to give to `SparkFiles.get`."""
    folder = Path(tempfile.mkdtemp(prefix="ernie_pipe_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / name).write_bytes(data)
    spark.sparkContext.addFile(str(folder / name))
    return name


def run_tasks(
    spark: SparkSession,
    tasks: Sequence[dict[str, Any]],
    work: Callable[[dict[str, Any]], dict[str, Any]],
    title: str,
) -> list[dict[str, Any]]:
    """Run `work` on each task, one Spark partition a task, and return the summaries in task order.

    An `InputError` of a worker is raised here again, without the traceback of two languages.
    """
    carry_code_of(work)
    listed = list(tasks)

    def partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            numbers = batch.column(0).to_pylist()
            yield pa.RecordBatch.from_pydict({"task": numbers, "summary": [summary(number) for number in numbers]})

    def summary(number: int) -> str:
        # Engines and lexicons stay as long as the worker: the collector need not walk over them again and again.
        gc.freeze()
        try:
            return json.dumps(work(listed[number]), ensure_ascii=False)
        except InputError as error:
            return json.dumps({"error": str(error)})

    frame = spark.range(0, len(listed), 1, numPartitions=max(1, len(listed))).mapInArrow(partition, SUMMARY)
    with watch(spark, title, len(listed)):
        rows = frame.collect()
    summaries = [json.loads(row.summary) for row in sorted(rows, key=lambda row: row.task)]
    error = next((found["error"] for found in summaries if "error" in found), None)
    if error is not None:
        raise InputError(error)
    return summaries


def carry_code_of(work: Callable) -> None:
    """Send the job's own module by value: executors have `ernie_pipe` installed, but not this folder."""
    function = getattr(work, "func", work)
    module = sys.modules[function.__module__]
    if module.__name__ != "__main__" and not module.__name__.startswith("ernie_pipe"):
        cloudpickle.register_pickle_by_value(module)


@contextmanager
def watch(spark: SparkSession, title: str, total: int) -> Iterator[None]:
    """Show how many tasks of the jobs started inside the block are finished."""
    context = spark.sparkContext
    group = f"{title} {uuid.uuid4()}"
    context.setJobGroup(group, title)
    progress = Progress(title, total, unit="task")
    finished = threading.Event()

    def poll() -> None:
        tracker = context.statusTracker()
        while not finished.wait(0.3):
            stages = [
                stage
                for job in tracker.getJobIdsForGroup(group)
                if (info := tracker.getJobInfo(job)) is not None
                for stage in info.stageIds
            ]
            known = [found for stage in stages if (found := tracker.getStageInfo(stage)) is not None]
            if known:
                progress.advance(min(total - 1, max(stage.numCompletedTasks for stage in known)))

    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    try:
        yield
        finished.set()
        poller.join()
        progress.advance(total)
    finally:
        finished.set()
        progress.close()


def run_job(main: Callable[[list[str]], int]) -> int:
    """Run a job's `main` for `spark-submit`: a user's mistake is one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return main(sys.argv[1:])
    except (InputError, OSError) as error:
        line = mistake(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 2
