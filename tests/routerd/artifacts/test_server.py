"""The artifact cache over HTTP: chunked uploads that resume after anything, and who may do what."""

import hashlib
import os
import socket
import time
from itertools import product
from pathlib import Path

import pytest

from routerd.artifacts.store import DiskFullError, Store
from routerd.artifacts.tokens import read_download_token
from routerd.contract import sign_download_token
from tests.routerd.artifacts.processes import SIGNING_KEY, RunningCache

DATA = os.urandom(1_000_003)
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
BLOB = f"/v1/blobs/{DIGEST}"


def upload(cache: RunningCache, data: bytes = DATA) -> str:
    digest = hashlib.sha256(data).hexdigest()
    assert cache.put(digest, offset=0, total=len(data), data=data).status_code == 201
    return digest


def test_a_blob_sent_in_chunks_is_whole_after_the_last_one(cache):
    for offset in range(0, len(DATA), 400_000):
        head = cache.request("HEAD", BLOB)
        assert (head.status_code, head.headers["x-slipway-received"]) == (404, str(offset))
        answer = cache.put(DIGEST, offset=offset, total=len(DATA), data=DATA[offset : offset + 400_000])
        assert answer.json()["received"] == min(offset + 400_000, len(DATA))
    head = cache.request("HEAD", BLOB)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))
    assert cache.request("GET", BLOB).content == DATA


def test_a_wrong_offset_is_answered_with_the_right_one(cache):
    cache.put(DIGEST, offset=0, total=len(DATA), data=DATA[:1000])
    for offset in (0, 999, 2000):
        answer = cache.put(DIGEST, offset=offset, total=len(DATA), data=b"x" * 10)
        assert (answer.status_code, answer.headers["x-slipway-received"]) == (409, "1000")
    assert cache.put(DIGEST, offset=1000, total=len(DATA), data=DATA[1000:]).status_code == 201


def test_an_upload_goes_on_after_the_cache_was_killed(cache):
    cache.put(DIGEST, offset=0, total=len(DATA), data=DATA[:300_000])
    cache.stop(kill=True)
    cache.start()
    received = int(cache.request("HEAD", BLOB).headers["x-slipway-received"])
    assert received == 300_000
    assert cache.put(DIGEST, offset=received, total=len(DATA), data=DATA[received:]).status_code == 201
    assert cache.request("GET", BLOB).content == DATA


def test_bytes_that_came_before_a_connection_broke_are_kept(cache):
    host, _, port = cache.url.removeprefix("http://").rpartition(":")
    head = f"PUT {BLOB}?offset=0&total={len(DATA)} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(DATA)}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"x-slipway-token: upload-token-of-the-test\r\n\r\n" + DATA[:250_000])
        there = wait_received(cache)
    # The next request for this blob waits for the broken one to be put away, and says where to go on.
    answer = cache.put(DIGEST, offset=0, total=len(DATA), data=b"")
    received = int(answer.headers["x-slipway-received"])
    assert received >= there
    assert cache.put(DIGEST, offset=received, total=len(DATA), data=DATA[received:]).status_code == 201


def wait_received(cache) -> int:
    """How many bytes of the blob the cache has, as soon as it has some."""
    end = time.monotonic() + 20
    while not (received := int(cache.request("HEAD", BLOB).headers["x-slipway-received"])):
        assert time.monotonic() < end, "nothing was stored"
    return received


def test_bytes_that_are_not_what_the_name_says_are_discarded(cache):
    answer = cache.put(OTHER, offset=0, total=len(DATA), data=DATA)
    assert answer.status_code == 422
    assert DIGEST in answer.json()["detail"]
    assert cache.request("HEAD", f"/v1/blobs/{OTHER}").headers["x-slipway-received"] == "0"
    assert cache.request("GET", f"/v1/blobs/{OTHER}").status_code == 404


def test_more_bytes_than_announced_are_refused(cache):
    assert cache.put(DIGEST, offset=0, total=10, data=DATA).status_code == 400


def test_uploading_what_is_there_is_answered_as_done(cache):
    upload(cache)
    assert cache.put(DIGEST, offset=0, total=len(DATA), data=DATA).status_code == 201


def test_an_empty_blob_can_be_stored(cache):
    digest = upload(cache, b"")
    assert cache.request("GET", f"/v1/blobs/{digest}").content == b""


def test_a_range_of_a_blob_can_be_downloaded(cache):
    upload(cache)
    ranges = {"bytes=10-19": DATA[10:20], "bytes=1000000-": DATA[1_000_000:], "bytes=-3": DATA[-3:]}
    for wanted, expected in ranges.items():
        answer = cache.request("GET", BLOB, headers={"range": wanted})
        assert (answer.status_code, answer.content) == (206, expected)


def test_a_deleted_blob_is_gone(cache):
    upload(cache)
    assert cache.request("DELETE", BLOB).status_code == 204
    assert cache.request("GET", BLOB).status_code == 404
    assert cache.request("DELETE", BLOB).status_code == 404


def test_a_deleted_part_can_be_sent_again_from_its_start(cache):
    cache.put(DIGEST, offset=0, total=len(DATA), data=DATA[:1000])
    assert cache.request("DELETE", BLOB).status_code == 204
    assert cache.put(DIGEST, offset=0, total=len(DATA), data=DATA).status_code == 201


def test_without_a_token_of_ours_nothing_is_done(cache):
    upload(cache)
    for method, token in product(["HEAD", "GET", "PUT", "DELETE"], [None, "", "guess", "a.b", "é"]):
        headers = {} if token is None else {"x-slipway-token": token.encode()}
        answer = cache.request(method, f"{BLOB}?offset=0&total=1", token=None, headers=headers)
        assert answer.status_code == 401
    assert cache.request("HEAD", BLOB).status_code == 200


def test_a_download_token_reads_its_own_blobs_and_changes_nothing(cache):
    upload(cache)
    upload(cache, b"other")
    token = sign_download_token(digests=[DIGEST], signing_key=SIGNING_KEY)
    assert cache.request("GET", BLOB, token=token).content == DATA
    assert cache.request("HEAD", BLOB, token=token).status_code == 200
    assert cache.request("GET", f"/v1/blobs/{OTHER}", token=token).status_code == 403
    assert cache.request("DELETE", BLOB, token=token).status_code == 403
    assert cache.put(DIGEST, offset=0, total=1, data=b"x", token=token).status_code == 403


def test_a_download_token_signed_with_another_key_is_unknown(cache):
    upload(cache)
    token = sign_download_token(digests=[DIGEST], signing_key="another-key-altogether")
    assert cache.request("GET", BLOB, token=token).status_code == 401


def test_a_download_token_is_the_same_for_the_same_blobs_and_reads_back():
    token = sign_download_token(digests=[OTHER, DIGEST], signing_key=SIGNING_KEY)
    assert token == sign_download_token(digests=[DIGEST, OTHER, OTHER], signing_key=SIGNING_KEY)
    assert read_download_token(token, signing_key=SIGNING_KEY) == {OTHER, DIGEST}
    assert read_download_token(token[:-1] + "0", signing_key=SIGNING_KEY + "x") is None


def test_what_is_no_digest_is_no_file_name(cache):
    for name in ("x", "..%2f..%2fetc%2fpasswd", DIGEST.upper(), DIGEST + "0", DIGEST[:63] + "%0a", DIGEST + "%0a"):
        assert cache.request("GET", f"/v1/blobs/{name}").status_code == 400


def test_a_chunk_without_a_sensible_place_is_refused(cache):
    for query in ("", "offset=0", "offset=-1&total=5", "offset=a&total=5", "offset=0&total=1e3"):
        assert cache.request("PUT", f"{BLOB}?{query}", content=b"x").status_code == 400


def test_health_needs_no_token_and_tells_the_room_left(cache):
    answer = cache.request("GET", "/healthz", token=None)
    assert answer.status_code == 200
    assert answer.json()["free_bytes"] > 0


async def test_a_blob_that_cannot_fit_is_refused_before_its_first_byte(tmp_path: Path):
    async def nothing():
        for piece in ():
            yield piece

    store = Store(tmp_path)
    with pytest.raises(DiskFullError, match="make its volume larger"):
        await store.put(DIGEST, offset=0, total=1 << 60, chunks=nothing())


def test_a_blob_that_cannot_fit_is_answered_507(cache):
    answer = cache.put(DIGEST, offset=0, total=1 << 60, data=b"x")
    assert answer.status_code == 507
    assert "volume larger" in answer.json()["detail"]


def test_uploading_and_downloading_a_large_blob_takes_constant_memory(cache):
    block = os.urandom(1 << 20)
    count = 64
    digest = hashlib.sha256(block * count).hexdigest()
    before = resident_bytes(cache)
    assert cache.put(digest, offset=0, total=count << 20, data=block * count).status_code == 201
    assert len(cache.request("GET", f"/v1/blobs/{digest}").content) == count << 20
    assert resident_bytes(cache) - before < 24 << 20


def resident_bytes(cache: RunningCache) -> int:
    status = Path(f"/proc/{cache.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
