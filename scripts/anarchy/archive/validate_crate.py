"""Check an archive against the Workflow Run RO-Crate profile with roc-validator: `validate_crate.py ARCHIVE`.

Runs in the environment `archive`, without a network: profiles come with the validator, and the one JSON-LD
context that they need is laid into its cache from the package `rocrate`. Prints every requirement that is not
met; exit status 1 where there is one.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import ValidationSettings
from urllib3 import HTTPResponse

CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
PROFILE: Final = "workflow-run-crate"


class _FromPackage(HTTPAdapter):
    """Answers every request with the context that lies in the package `rocrate`."""

    def send(self, request: Any, *_args: Any, **_options: Any) -> Any:
        """The context, as a server would send it."""
        content = files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
        headers = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(BytesIO(content), headers=headers, status=200, preload_content=False)
        return self.build_response(request, raw)


def lay_context(cache: Path) -> None:
    """Write the context of RO-Crate 1.1 into the validator's cache; ValueError where another is installed."""
    session = CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1)
    session.mount(CONTEXT, _FromPackage())
    named = session.get(CONTEXT).json()["@id"]
    session.close()
    if named != CONTEXT:
        raise ValueError(f"the package rocrate carries {named}; envs/archive.in says which version to pin")


def unmet(archive: Path, severity: str = "REQUIRED") -> list[str]:
    """Every requirement of the profile, and of those that it is built on, that an archive does not meet."""
    with tempfile.TemporaryDirectory(prefix="anarchy-") as folder:
        cache = Path(folder) / "http"
        lay_context(cache)
        result = services.validate(
            ValidationSettings(
                rocrate_uri=archive,
                profile_identifier=PROFILE,
                requirement_severity=severity,
                cache_path=cache,
                offline=True,
            )
        )
        return [f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()]


def main() -> int:
    """The command line of one check."""
    (archive,) = sys.argv[1:]
    found = unmet(Path(archive))
    for one in found:
        print(one)
    print(f"{archive}: {len(found)} requirements of Workflow Run RO-Crate are not met")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
