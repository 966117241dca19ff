"""Which container image a process runs in, by the conventions of Slurm, Pyxis, Enroot, Apptainer, Podman.

That of the process that asks: a node's probe, which runs beside the deployment. The image that serves is
stated by who starts it, as `deployment.container` of the fingerprint (`anarchy.engines.image`).

None of them tells a running process the digest of its image, except Podman. So whoever starts the job may say
it in ANARCHY_CONTAINER_IMAGE and ANARCHY_CONTAINER_DIGEST, which win; an image named by digest tells it
itself; and a readable image file has an identity of its own in its first bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anarchy.telemetry.probes import ProbeError, read_or_none

IMAGE_VARIABLES = (
    "ANARCHY_CONTAINER_IMAGE",
    # Pyxis is a SPANK plug-in: Slurm hands its options to the job under these two names.
    "SLURM_SPANK__SLURM_SPANK_OPTION_pyxis_container_image",
    "_SLURM_SPANK_OPTION_pyxis_container_image",
    # `srun --container` with an OCI bundle.
    "SLURM_CONTAINER",
    "APPTAINER_CONTAINER",
    "SINGULARITY_CONTAINER",
)
"""Where the image's name or path is looked for, in this order."""
DIGEST_VARIABLE = "ANARCHY_CONTAINER_DIGEST"
RUNTIME_MARKS = (
    ("apptainer", "/.singularity.d"),
    ("podman", "/run/.containerenv"),
    ("docker", "/.dockerenv"),
)
"""Files that a runtime leaves in its containers."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PODMAN_IMAGE = re.compile(r'^image(id)?="(.*)"$', re.MULTILINE)
SIF_MAGIC = b"SIF_MAGIC"
SQUASHFS_MAGIC = b"hsqs"
_HEADER_BYTES = 128
_SQUASHFS_SUPERBLOCK = 96


def container(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> dict[str, Any]:
    """Runtime, image, digest and image file's identity; raises `ProbeError` outside any container.

    Reads only the variables named in this module.
    """
    image = next((environment[name] for name in IMAGE_VARIABLES if environment.get(name)), None)
    runtime = _runtime(environment, root)
    if image is None and runtime is None:
        raise ProbeError("not in a container that this knows (Pyxis, Enroot, Apptainer, Podman, Docker)")
    told = dict.fromkeys(("image", "imageid"))
    told.update({f"image{kind}": name for kind, name in _PODMAN_IMAGE.findall(_containerenv(root))})
    image = image or told["image"]
    digest = environment.get(DIGEST_VARIABLE) or _digest_in(image) or told["imageid"]
    file = image_file_identity(Path(image)) if image and Path(image).is_file() else None
    found = {"runtime": runtime, "image": image, "digest": digest, "image_file": file}
    if digest is None and file is None:
        found["reason"] = f"the runtime does not tell a digest; set {DIGEST_VARIABLE} where the job starts"
    return found


def _runtime(environment: Mapping[str, str], root: Path) -> str | None:
    if any(environment.get(name) for name in IMAGE_VARIABLES[1:3]):
        return "pyxis"
    if environment.get("SLURM_CONTAINER"):
        return "slurm"
    for name, mark in RUNTIME_MARKS:
        if (root / mark.lstrip("/")).exists():
            return name
    return "enroot" if environment.get("ENROOT_ROOTFS") else None


def _containerenv(root: Path) -> str:
    return read_or_none(root / "run/.containerenv") or ""


def _digest_in(image: str | None) -> str | None:
    found = _DIGEST.search(image or "")
    return found[0] if found else None


def image_file_identity(path: Path) -> dict[str, Any]:
    """Identity of an image file from its first bytes: hashing 15 GB would take longer than a probe may.

    A SIF has a UUID made when it was built; of a squashfs (Enroot) the superblock holds its time of making,
    size and table offsets, so its SHA-256 tells builds apart. Equal content built twice differs.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    size = path.stat().st_size
    if header[32 : 32 + len(SIF_MAGIC)] == SIF_MAGIC:
        return {"kind": "sif", "id": str(uuid.UUID(bytes=header[48:64])), "bytes": size}
    if header.startswith(SQUASHFS_MAGIC):
        digest = hashlib.sha256(header[:_SQUASHFS_SUPERBLOCK]).hexdigest()
        return {"kind": "squashfs", "superblock_sha256": digest, "bytes": size}
    return {"kind": "unknown", "bytes": size}
