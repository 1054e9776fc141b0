"""Find what the documentation claims: its code, its command lines, its links and its pictures.

``python scripts/docs_blocks.py`` prints how many of each there are, and which command lines are parsed and not run,
with the reason. The tests use the same functions, so that nothing is counted here that they do not check.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCES = DOCS / "images" / "sources.yaml"

PARSED = {
    r"[A-Z]{3,}(?:\.\w+)?(?=[\s\]]|$)|\[--|…": "a pattern with words in capitals, to be filled in",
    r"napari-ran demo": "registers the whole phantom; scripts/demo.sh and tests/test_cli.py run it",
    r"inspect result -o page$": "takes ten seconds; tutorials/read-the-aligners.md runs it, and tests/webpage",
    r"napari-ran batch": "starts worker processes; tests/cohort runs it",
    r"napari-ran benchmark": "trains for hours; tests/benchmark runs a small one",
    r"train .*general-coarse|train .*hippocampus|train .*runs/abdomen": "trains for hours; tests/train runs small ones",
    r"huge": "a volume larger than memory; tests/test_chunked.py warps one in parts",
}
"""Command lines (patterns) that are checked by the real argument parser but not run, with the reason."""

REFINED = "--set instance.steps=3 --set instance.search=0"
SHORTENED = {
    "fine-tune.md": ("train", "--set budget.steps=10", "sixty steps take ten seconds"),
    "README.md": ("register", REFINED, "the refinement is the same whatever page asks for it"),
    "register-two-cts.md": ("register", REFINED, "likewise"),
    "quickstart.md": ("register", REFINED, "likewise"),
    "leading.md": ("register", REFINED, "likewise"),
    "how-to/index.md": ("register", REFINED, "likewise"),
    "take-to-slicer.md": ("register", REFINED, "likewise"),
    "evaluate-a-cohort.md": ("evaluate", REFINED, "likewise"),
}
"""Commands that are run with something added that makes them short: the end of the page's path, command, what, why."""

OTHER = {
    r"pip install": "a package from its registry; the extras that it names are checked",
    r"bash |python ": "a script of the repository; that it is there is checked",
    r"antsApplyTransforms|applywarp": "another tool",
    r"#SBATCH|#!/bin|head=|srun|torchrun|--rdzv": "a job of a cluster; the training that it starts is parsed",
    r"pre-commit|pytest|ruff|mypy|mkdocs|tox": "a tool of the development environment, which CI runs",
    r"\. \.venv|export |cd ": "sets the shell up",
}
"""Lines of shell blocks that are not of ``napari-ran``, with what is done about them."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its title where it has one, its text, and the line it begins on."""

    page: Path
    language: str
    title: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The command lines of ``napari-ran`` in it, without comments, continued lines joined."""
        if self.language not in ("bash", "sh", "text"):
            return []
        found = []
        for line in joined(self.text):
            match = re.search(r"(?:^|\s)(?:napari-ran|-m napari_ran\.cli)\s+(?=[a-z-]+(?:\s|$))", line)
            begins = re.match(r"(?:[A-Z_]+=\S+ )*napari-ran |.*-m napari_ran\.cli ", line)
            if match and begins:
                found.append(f"napari-ran {line[match.end() :]}")
        return found

    @property
    def others(self) -> list[str]:
        """The other lines of a shell block."""
        if self.language not in ("bash", "sh"):
            return []
        lines = [line for line in joined(self.text) if line and not line.startswith("# ")]
        return [line for line in lines if not re.match(r"(?:[A-Z_]+=\S+ )*napari-ran ", line)]


def joined(text: str) -> list[str]:
    """Return the lines of a shell block: continued ones joined, comments at the end removed."""
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [re.sub(r"\s+# .*$", "", line).strip() for line in lines]


def pages() -> list[Path]:
    """Return the README, the contributing guide and every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        Block(page, m[1], (re.findall(r'title="([^"]+)"', m[2]) or [""])[0], m[3], text[: m.start()].count("\n") + 1)
        for m in found
    ]


def mentioned(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of ``napari-ran`` that a page's prose names in passing, each with the options it names."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`napari-ran ([a-z]+)([^`]*)`", text)
    return [(name, re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) for name, rest in spans]


def why_not_run(command: str) -> str:
    """Return why a command line is parsed only, or nothing when it is run."""
    return next((reason for pattern, reason in PARSED.items() if re.search(pattern, command)), "")


def shortened(page: Path, command: str) -> list[str]:
    """Return the arguments of a command line as the tests run it."""
    words = shlex.split(command)[1:]
    for ending, (name, added, _) in SHORTENED.items():
        if page.as_posix().endswith(ending) and words[0] == name:
            words += added.split()
    return words


def what_else(line: str) -> str:
    """Return what is done about a line of another program, or nothing where nobody has said."""
    return next((reason for pattern, reason in OTHER.items() if re.match(pattern, line)), "")


def filled_in(command: str) -> list[str]:
    """Return a command line that the parser can read: brackets opened, choices taken, free words left out."""
    text = re.sub(r"\[(?:options|settings of register|FILE \.\.\.|CONFIG\.yaml \.\.\.)[^\]]*\]|\.\.\.|…", "", command)
    text = re.sub(r"(--(?:workers|retries)) N\b", r"\1 2", text.replace("[", "").replace("]", ""))
    for option, choice in {"--kind": "image", "--labels": "nearest", "--instance": "field"}.items():
        text = re.sub(rf"({option}) [A-Z]+", rf"\1 {choice}", text)
    text = re.sub(r"(--(?:from-)?format) [A-Z]+", r"\1 itk", text)
    return shlex.split(text)[1:]


@dataclass(frozen=True)
class Link:
    """A link or a picture of a page: its target as written, and what it leads to, None where that lies elsewhere."""

    page: Path
    target: str
    picture: bool
    file: Path | None
    anchor: str


def links(page: Path) -> Iterator[Link]:
    """Yield every link and picture of a page, those in code left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]+`", "`code`", text)
    for mark, target in re.findall(r"(!?)\[[^\]]*\]\(\s*<?([^)\s>]+)", text) + [
        ("!", found) for found in re.findall(r'<img[^>]*\ssrc="([^"]+)"', text)
    ]:
        if re.match(r"[a-z][a-z+.-]*:", target):
            yield Link(page, target, mark == "!", None, "")
            continue
        path, _, anchor = target.partition("#")
        yield Link(page, target, mark == "!", (page.parent / path).resolve() if path else page, anchor)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings as the generator names them, and those that are set by hand."""
    from markdown.extensions.toc import slugify

    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set(re.findall(r"\{\s*#([\w-]+)", text)) | set(re.findall(r'id="([^"]+)"', text))
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.*?)\s*(?:\{.*\})?$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "").replace("*", ""))
        name = slugify(plain, "-")
        found.add(name if not seen[name] else f"{name}_{seen[name]}")
        seen[name] += 1
    return found | set(re.findall(r"^::: ([\w.]+)", text, re.MULTILINE))


def picture_sources() -> dict[str, list[str]]:
    """Return the command that makes pictures, and the pictures (paths or patterns below docs/images)."""
    found: dict[str, Any] = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))
    return {str(command): list(names) for command, names in found.items()}


def main() -> None:
    every = [block for page in pages() for block in blocks(page)]
    commands = [(block, command) for block in every for command in block.commands]
    reasons = Counter(why_not_run(command) for _, command in commands)
    all_links = [link for page in pages() for link in links(page)]
    print(f"{len(pages())} pages, {len(every)} blocks of code")
    print(f"{sum(block.language == 'python' for block in every)} blocks of Python, all run")
    print(f"{sum(block.language == 'yaml' for block in every)} files of settings, all loaded")
    print(f"{len(commands)} command lines of napari-ran: {reasons.pop('')} run, {sum(reasons.values())} parsed:")
    for reason, count in reasons.items():
        print(f"    {count}: {reason}")
    print(f"{sum(len(mentioned(page)) for page in pages())} commands named in prose, their options checked")
    inside = [link for link in all_links if link.file is not None]
    print(f"{len(all_links)} links: {len(inside)} inside, of them {sum(link.picture for link in inside)} pictures")


if __name__ == "__main__":
    main()
