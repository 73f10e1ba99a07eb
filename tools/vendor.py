"""
Takes what the page needs from other people, as they publish it: by name and version, by npm, checked by its hash.

    python tools/vendor.py          fetch it anew and write it
    python tools/vendor.py --check  say whether what is committed is what they publish
"""

import argparse
import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAME, VERSION = "uplot", "1.6.32"
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
FILES = ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE")
TARGET = Path(__file__).parent.parent / "src" / "autoresearch" / "web" / "static" / "uplot"


def fetch() -> dict[str, bytes]:
    """The files, from the package as npm hands it over; ends the program where its hash is another."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{NAME}@{VERSION}"], cwd=folder, check=True, capture_output=True)
        package = next(Path(folder).glob("*.tgz"))
        kind, _, wanted = INTEGRITY.partition("-")
        found = base64.b64encode(hashlib.new(kind, package.read_bytes()).digest()).decode()
        if found != wanted:
            sys.exit(f"{NAME} {VERSION} has {kind} {found}, and {wanted} was expected")
        with tarfile.open(package) as archive:
            members = {name: archive.extractfile(f"package/{name}") for name in FILES}
            return {name: member.read() for name, member in members.items() if member is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, content in fetch().items():
        path = TARGET / Path(name).name
        if check and (not path.exists() or path.read_bytes() != content):
            sys.exit(f"{path} is not what {NAME} {VERSION} holds")
        if not check:
            path.write_bytes(content)
    print(f"{NAME} {VERSION}: {', '.join(FILES)}")


if __name__ == "__main__":
    main()
