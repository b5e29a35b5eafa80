"""The example of a served model answers what the harness asks."""

import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from harness.records import Prompt, Request
from harness.systems.http import HttpSystem

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from serve import serve  # noqa: E402


@pytest.fixture
def address():
    server = serve(0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_draws_by_prompt_and_seed(address):
    system = HttpSystem(base_url=address, model="colours", seed=True)
    system.load()
    prompt = Prompt(id="", text="a red circle", category="")
    a, b, c = system.generate(
        [Request(id=i, prompt=prompt, seed=s) for i, s in enumerate((1, 2, 1))]
    )
    assert a.shape == (64, 64, 3) and np.array_equal(a, c) and not np.array_equal(a, b)


def test_what_is_no_request_is_told(address):
    for body in (b"none", b"{}", b"[]"):
        asked = urllib.request.Request(f"{address}/images/generations", data=body, method="POST")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(asked)
