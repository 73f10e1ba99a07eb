"""
Runs one command inside a sandbox and gives it one way out: a port of its own loopback device, which leads to a
Unix socket of the proxy outside.

A program of its own (standard library only), started in there:

    python -I -S bridge.py SOCKET PORT -- COMMAND [ARGUMENT ...]

Its exit code is the command's. It holds no secret and decides nothing: what may pass is for proxy.py to say.
"""

import contextlib
import socket
import subprocess
import sys
import threading

BLOCK = 1 << 16
NOT_FOUND = 127


def main(path: str, port: int, argv: list[str]) -> int:
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    threading.Thread(target=serve, args=(listener, path), daemon=True).start()
    try:
        code = subprocess.call(argv)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    return code if code >= 0 else 128 - code


def serve(listener: socket.socket, path: str) -> None:
    while True:
        inner, _ = listener.accept()
        outer = socket.socket(socket.AF_UNIX)
        try:
            outer.connect(path)
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=pump, args=(source, sink), daemon=True).start()
        except (OSError, RuntimeError):  # the proxy is gone, or no more threads may be had
            inner.close()
            outer.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """One direction of a connection, until it ends; then the other side is told so."""
    with contextlib.suppress(OSError):
        while data := source.recv(BLOCK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[4:]))
