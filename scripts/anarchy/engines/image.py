"""Which container image the serving stack runs in, and the digest that makes it the same image again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from anarchy.ground.errors import UserError

FILE_SUFFIXES = frozenset({".sif", ".sqsh", ".squashfs", ".img"})
"""What image files are called (Apptainer's SIF, Enroot's squashfs); anything else is an address."""
_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})$")


@dataclass(frozen=True)
class ServingImage:
    """Runtime and image of the serving processes, as the fingerprint tells them.

    `image` is an address, or of a file its name alone, which says nothing of who runs it. `digest` is that of
    the manifest where the address holds one, of the file otherwise; None with the `reason`.
    """

    runtime: str
    image: str
    digest: str | None
    reason: str = ""


def image_path(image: str) -> Path | None:
    """The file or folder that an image's name means; None for an address in a registry.

    As Pyxis tells them apart (a path begins with `/` or `.`), and by the suffix.
    """
    if "://" in image:
        return None
    path = Path(image)
    return path if image.startswith(("/", ".")) or path.suffix in FILE_SUFFIXES else None


def serving_image(runtime: str, image: str, known: Path) -> ServingImage:
    """What an image is; hashing a file of 15 GB takes half a minute, so `known` (JSON) keeps digests.

    A digest is kept for as long as the file's size and time of change stay. Raises UserError where there is
    no such file.
    """
    path = image_path(image)
    if path is None:
        found = _DIGEST.search(image)
        reason = "" if found else "the address holds no digest (`...@sha256:...`), so a tag may have moved"
        return ServingImage(runtime, image, found[1] if found else None, reason)
    if path.is_dir():
        return ServingImage(runtime, path.name, None, "a folder has no digest; build a .sif or .sqsh of it")
    if not path.is_file():
        raise UserError(
            "there is no such image here",
            where=path,
            remedy="build it as envs/container/README.md says, on a folder that all nodes see, or correct "
            "container.image of the site",
        )
    return ServingImage(runtime, path.name, f"sha256:{_file_digest(path, known)}")


def _file_digest(path: Path, known: Path) -> str:
    state = path.stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    digests: dict[str, str] = {}
    if known.is_file():
        digests = json.loads(known.read_text(encoding="utf-8"))
    if key not in digests:
        with path.open("rb") as file:
            digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        # Several jobs may start at a time, on several nodes: the last one's word stands, whole.
        known.parent.mkdir(parents=True, exist_ok=True)
        scratch = known.with_name(f"{known.name}.{uuid.uuid4().hex}")
        scratch.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
        os.replace(scratch, known)
    return digests[key]
