"""The workflows of CI and release, the issue templates, and the rehearsal of a release."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
if not GITHUB.is_dir():
    pytest.skip("tests run outside the repository", allow_module_level=True)
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
sys.path.insert(0, str(ROOT / "scripts"))

import durations  # noqa: E402


class Loader(yaml.SafeLoader):
    """Reads ``on`` as a word; YAML 1.1 takes it for a yes."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader)
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_sound(path: Path) -> None:
    flow = loaded(path)
    assert set(flow) <= {"name", "on", "permissions", "concurrency", "env", "jobs"}
    assert flow["permissions"] == {"contents": "read"}, "everything else is asked for by the job that needs it"
    for name, job in flow["jobs"].items():
        needed = job.get("needs", [])
        assert set(needed) <= set(flow["jobs"]), name
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
            assert "workflow_call" in loaded(ROOT / job["uses"])["on"]
            continue
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job), name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@[\w./-]+", step["uses"]), step


def test_the_scripts_that_workflows_run_are_there() -> None:
    environments = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for path in WORKFLOWS:
        for step in (s for job in loaded(path)["jobs"].values() for s in job.get("steps", [])):
            for script in re.findall(r"bash ((?:scripts|\.ci)/[\w.]+)", step.get("run", "")):
                assert (ROOT / script).is_file(), script
    for python in re.findall(r'"3\.(\d+)"', (GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8")):
        assert re.search(rf"py\{{[\d,]*3{python}[\d,]*\}}", environments), f"tox has no 3.{python}"


def test_only_what_was_tested_is_published_and_by_trust_alone() -> None:
    flow = loaded(GITHUB / "workflows" / "release.yml")
    publish = flow["jobs"]["publish"]
    assert flow["on"] == {"push": {"tags": ["v[0-9]*"]}}
    assert set(publish["needs"]) == {"build", "test"}
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "pypi"
    assert not any("run" in step for step in publish["steps"]), "it uploads what was built, and builds nothing"
    assert "secrets." not in (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_no_address_of_the_project_is_guessed() -> None:
    for path in [*GITHUB.rglob("*.yml"), *GITHUB.rglob("*.md"), ROOT / "mkdocs.yml"]:
        assert not re.search(r"https?://(?!semver)", path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if p.name != "config.yml"],
    ids=lambda p: p.name,
)
def test_an_issue_template_is_a_form(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= set(form)
    names = [part["id"] for part in form["body"]]
    assert len(set(names)) == len(names)
    for part in form["body"]:
        assert part["type"] in ("textarea", "input", "dropdown", "checkboxes")
        assert part["attributes"].get("label")


@pytest.mark.parametrize(
    ("argument", "complaint"), [("", "say --dry-run, or the tag"), ("v99.0.0", "the tag is v99.0.0, the package says")]
)
def test_a_release_that_does_not_fit_is_refused_before_anything_is_built(argument: str, complaint: str) -> None:
    command = ["bash", str(ROOT / "scripts" / "release.sh"), *([argument] if argument else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "building" not in done.stdout


def test_contributing_is_ten_lines() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(commands.splitlines()) == 10


def test_durations_are_summed_by_module(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(
        "<testsuites><testsuite>"
        '<testcase classname="tests.io.test_images" name="a" time="1.5"/>'
        '<testcase classname="tests.test_cli" name="b" time="4"/>'
        '<testcase classname="tests.io.test_images" name="c" time="0.25"/>'
        "</testsuite></testsuites>"
    )
    found = durations.durations(tmp_path / "report.xml")
    assert found == [("test_cli.py", 1, 4.0), ("io/test_images.py", 2, 1.75)]
