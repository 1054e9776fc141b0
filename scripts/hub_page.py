"""What the package index and the plugin hub show: the README with absolute links, and the project's addresses.

Hatchling runs this when it builds. The addresses come from the environment, as for the documentation: without
``NAPARI_RAN_REPOSITORY_URL`` the README's own pictures and links, which would lead nowhere from there, are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = "NAPARI_RAN_REPOSITORY_URL"
SITE = "NAPARI_RAN_SITE_URL"

PICTURE = re.compile(r"!\[(?P<words>[^\]]*)\]\((?!https://)(?P<path>[^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[(?P<words>[^\]]*)\]\((?!https://)(?P<path>[^)\s]+)\)")


def page(text: str, repository: str, version: str) -> str:
    """Return a README as it is shown away from its repository.

    Parameters
    ----------
    text : str
        Markdown, whose own files are named by their paths in the repository.
    repository : str
        Its public address (``https://host/owner/name``), or an empty text while there is none.
    version : str
        Of the release: links lead to its tag, so that the page of an old release stays as it was.
    """
    if repository:
        text = PICTURE.sub(rf"![\g<words>]({repository}/raw/v{version}/\g<path>)", text)
        return LINK.sub(rf"[\g<words>]({repository}/blob/v{version}/\g<path>)", text)
    return LINK.sub(r"\g<words>", re.sub(PICTURE.pattern + r"\n*", "", text))


def addresses(repository: str, site: str, version: str) -> dict[str, str]:
    """Return the project's addresses by the names that indexes know."""
    urls = {"Documentation": site} if site else {}
    if repository:
        urls |= {"Homepage": repository, "Source": repository, "Issues": f"{repository}/issues"}
        urls["Changelog"] = f"{repository}/blob/v{version}/CHANGELOG.md"
        urls.setdefault("Documentation", f"{repository}/blob/v{version}/docs/index.md")
    return urls


class HubPage(MetadataHookInterface):
    """Fills in ``project.readme`` and ``project.urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what is not there yet: in an unpacked source release both were set when it was made."""
        version = metadata["version"]
        repository, site = (os.environ.get(name, "").rstrip("/") for name in (REPOSITORY, SITE))
        if "readme" not in metadata:
            text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
            metadata["readme"] = {"content-type": "text/markdown", "text": page(text, repository, version)}
        metadata.setdefault("urls", addresses(repository, site, version))
