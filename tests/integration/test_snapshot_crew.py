"""Export files are mapped by processes of their own, from S3 to S3; a killed one costs the file that it was at."""

from __future__ import annotations

import base64
import gzip
import hashlib
import multiprocessing
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from crossfade.adapters.s3_export import ExportFile, FileCounts
from crossfade.adapters.s3_objects import UPLOAD_BYTES, LazyClient, S3Objects
from crossfade.core.values.errors import SnapshotBroken
from crossfade.core.values.image import encode_image
from crossfade.runtime.aws import control_client
from crossfade_controller.file_run import FileRun
from crossfade_controller.mapping_crew import Rules, WorkerDied, beside
from crossfade_controller.mapping_run import folder_of, map_run, summed
from crossfade_controller.settings import ControllerSettings
from engagement_migration.samples import NOT_OURS, WALLETS
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded

BUCKET = "snapshot-crew"
BODY = gzip.compress(b"".join(b'{"Item":%b}\n' % encode_image(row) for row in (*WALLETS, *NOT_OURS)))
MD5 = base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode()
RULES = Rules(frozenset(), ())


@pytest.fixture
def settings(local_aws: Endpoints) -> ControllerSettings:
    return ControllerSettings(bucket=BUCKET, aws_endpoint_url=local_aws.aws_endpoint)


@pytest.fixture
async def objects(settings: ControllerSettings) -> AsyncIterator[S3Objects]:
    client = LazyClient(partial(control_client, settings, "s3"))
    s3 = await client.get()
    await s3.create_bucket(Bucket=BUCKET)
    yield S3Objects(client, BUCKET)
    for each in (await s3.list_objects_v2(Bucket=BUCKET)).get("Contents", []):
        await s3.delete_object(Bucket=BUCKET, Key=each["Key"])
    await client.close()


def made(objects: S3Objects, settings: ControllerSettings, files: list[ExportFile]) -> FileRun[FileCounts]:
    crew = beside(settings, RULES, 2)
    return map_run(objects, files, folder_of("p/import-0/", "m"), crew, at_once=2, is_held=lambda: False)


async def crew_of(run: FileRun[FileCounts]) -> list[BaseProcess]:
    """Wait until the processes of a run are there; return them."""
    while not (found := multiprocessing.active_children()):
        await run.done(0.01)
    return found


async def test_files_are_mapped_by_processes_and_what_a_killed_one_left_is_mapped_by_the_next(
    objects: S3Objects, settings: ControllerSettings
) -> None:
    files = [ExportFile(f"data/{number}.json.gz", 7, MD5) for number in range(4)]
    for each in files:
        await objects.put(each.key, BODY)
    killed = made(objects, settings, files)
    for process in await crew_of(killed):
        process.kill()
    with pytest.raises(WorkerDied, match="continues with the files that are left"):
        await killed.done(60.0)

    done = await made(objects, settings, files).done(60.0)
    assert done is not None
    counts = summed(done.values())
    assert (counts.read, counts.mapped, counts.not_ours) == (28, 16, 12)
    for number in range(4):
        body = await objects.get(f"p/import-0/m/{number:06d}.json.gz")
        assert body is not None
        assert len(gzip.decompress(body).splitlines()) == 4
    assert not multiprocessing.active_children(), "the crew ends with its work"


async def test_a_long_object_goes_up_in_parts_and_appears_whole_or_not_at_all(objects: S3Objects) -> None:
    piece = bytes(range(256)) * 4096 * 3

    async def pieces(*, broken: bool) -> AsyncIterator[bytes]:
        for _ in range(4):
            yield piece
        if broken:
            raise SnapshotBroken("damaged")

    assert len(piece) * 4 > UPLOAD_BYTES > len(piece)
    with pytest.raises(SnapshotBroken, match="damaged"):
        await objects.write("broken", pieces(broken=True))
    await objects.write("whole", pieces(broken=False))
    assert await objects.keys("") == ["whole"]
    back = hashlib.sha256()
    async for each in objects.read("whole"):
        assert len(each) <= 1024 * 1024
        back.update(each)
    assert back.digest() == hashlib.sha256(piece * 4).digest()

    async def none() -> AsyncIterator[bytes]:
        for _ in ():
            yield b""

    await objects.write("nothing", none())
    assert await objects.get("nothing") is None


FOLLOWED = """
import multiprocessing, os, time
from crossfade_controller.mapping_crew import _follow

def follow(number):
    print(os.getpid(), flush=True)
    _follow()

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=follow, args=(0,))
    child.start()
    time.sleep(600)
"""


def test_a_process_that_maps_ends_with_its_controller_however_that_ends(tmp_path: Path) -> None:
    script = tmp_path / "followed.py"
    script.write_text(FOLLOWED)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) > 0
    parent.kill()
    parent.wait()
    # The pipe ends when the last process that holds it has: that is the one that maps.
    assert parent.stdout.read() == ""
