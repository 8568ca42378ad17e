"""Many objects, and runs that are killed: on a real S3 server."""

from __future__ import annotations

import gc
import io
import json
import signal
import subprocess
import sys
import time

import pytest
from buckets import BUCKET
from conftest import LONG, noise
from PIL import Image

from carcli.batch import Down, Options, run
from carcli.stores.store import Stored
from carcli.stores.url import Url

pytestmark = pytest.mark.slow

S3 = f"s3://{BUCKET}"
OPTIONS = Options(devices=("cpu",), recursive=True)


def png(height=8, width=8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(height, width)).save(file, "PNG")
    return file.getvalue()


def test_a_run_that_is_killed_loses_nothing_and_the_next_one_does_the_rest(bucket):
    count, data = 120, png(96, 96)
    bucket.fill((f"in/{i:04}.png" for i in range(count)), data)
    line = [sys.executable, "-m", "carcli", "down", f"{S3}/in/", "-o", f"{S3}/lr/", "--model", "bicubic", "--device", "cpu", "-q"]
    for after in (10, 40, 80):  # outputs
        process = subprocess.Popen(line)
        while process.poll() is None and sum(".png" in key for key in bucket.keys("lr/")) < after:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    there = [key for key in bucket.keys("lr/") if key.endswith(".png")]
    assert len(there) >= 80
    whole = {bucket.get(key) for key in there}
    assert len(whole) == 1  # the same input makes the same bytes, and none is cut
    bucket.requests.clear()
    done = subprocess.run([*line[:-1], "--json"], capture_output=True, text=True, check=False)
    records = [json.loads(text) for text in done.stdout.splitlines()]
    assert done.returncode == 0
    assert (records[-1]["done"], records[-1]["skipped"]) == (count - len(there), len(there))
    assert bucket.asked("PUT", "/lr/0") == count - len(there)  # what was done is not done again
    assert {bucket.get(f"lr/{i:04}.png") for i in range(count)} == whole
    uploads = bucket.client.list_multipart_uploads(Bucket=BUCKET)
    assert "Uploads" not in uploads  # nothing is written in parts, so nothing is left of any


@LONG
def test_of_10_000_objects_the_first_is_done_before_the_last_is_listed(bucket):
    count = 10_000
    bucket.fill((f"in/{i:05}.png" for i in range(count)), png())
    bucket.requests.clear()
    began, done, first, pages, held = time.monotonic(), 0, 0.0, 0, []
    for result in run(Down("bicubic", 2), [f"{S3}/in/"], f"{S3}/lr/", OPTIONS):
        done += result.status == "done"
        if done == 1:
            first, pages = time.monotonic() - began, bucket.asked("GET", "continuation-token")
        if done % 500 == 1:
            held.append(sum(type(each) is Stored for each in gc.get_objects()))
    print(f"{count} objects in {time.monotonic() - began:.0f} s, the first after {first:.2f} s; of them {held} held at once")
    assert done == count
    assert pages == 0  # all pages but the first are still to come
    assert max(held) < 200  # what is ahead and in flight, however many there are
    assert bucket.asked("GET", "/in/0") == count
    assert bucket.asked("GET", "list-type") <= 2 * (count // 1000 + 2) + 6


PLANNED = """
import sys, tracemalloc
from carcli.batch import targets
from carcli.batch.listing import Found
from carcli.stores.url import Url

count, top, out = int(sys.argv[1]), Url("s3", "b", "in/"), Url("s3", "b", "lr/")
targets.Present = lambda output: None
names = (f"{i:07}.jpg" for i in range(count))
last = ""
tracemalloc.start()
for job in targets.Targets(out, ".png", look=False).jobs(Found(name, top.below(name)) for name in names):
    last = str(job.target)
print(last, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_names_are_planned_in_memory_that_does_not_grow_with_them(count):
    ran = subprocess.run([sys.executable, "-c", PLANNED, str(count)], capture_output=True, text=True, check=True)
    last, peak = ran.stdout.split()  # of a process in which nothing else is going on
    assert last == f"{Url('s3', 'b', 'lr/')}{count - 1:07}.png"
    assert int(peak) < 30_000  # bytes
