"""Build hooks: the configs as data of the package, and metadata that depends on the project's web address.

The address is `web_address` in pyproject.toml. PyPI resolves no relative link: with an address, the README's links lead
to the repository there; without one they become plain text, and pictures their descriptions.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

#: [text](target) and ![text](target) with a relative target.
_RELATIVE = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<target>[^)\s]+)\)")


class PackagedConfigs(BuildHookInterface):
    """Puts configs/ into the wheel as bonemet_jax/configs/."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder, except to an editable install, which reads configs/ in the checkout."""
        if version != "editable":
            build_data["force_include"]["configs"] = "bonemet_jax/configs"


class ProjectMetadata(MetadataHookInterface):
    """Fills `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both fields to the project table."""
        address = self.config["web_address"].rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": render_readme(text, address)}
        metadata["urls"] = make_urls(address) if address else {}


def make_urls(address: str) -> dict[str, str]:
    """Links of the project page on PyPI."""
    return {
        "Repository": address,
        "Documentation": f"{address}/tree/HEAD/docs",
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def render_readme(text: str, address: str) -> str:
    """The README without relative links.

    Args:
        text: Markdown.
        address: Web address of the repository; empty: there is none.
    """

    def replace(link: re.Match[str]) -> str:
        name, target = link["text"], link["target"]
        if address:
            kind = "raw" if link["picture"] else "blob"
            return f"{link['picture']}[{name}]({address}/{kind}/HEAD/{target})"
        if link["picture"]:
            return f"*Picture in the repository: {name}.*"
        if name == target:
            return name
        in_parentheses = text[: link.start()].endswith("(")
        return f"{name}: {target}" if in_parentheses else f"{name} ({target})"

    return _RELATIVE.sub(replace, text)
