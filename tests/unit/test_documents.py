"""The documents: links and file names lead somewhere, the workflow runs what CONTRIBUTING says."""

import ast
import re

import pytest

from tests.documents import PROJECT, README, documents

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
PACKAGES = sorted([*(PROJECT / "pruner").rglob("__init__.py"), *(PROJECT / "jobs").rglob("__init__.py")])


def name_of(path):
    return str(path.relative_to(PROJECT))


def targets(document):
    """Return where a document's relative links lead."""
    links = LINK.findall(CODE.sub("", document.read_text()))
    return [(document.parent / link.partition("#")[0]).resolve() for link in links if not re.match("https?:|#", link)]


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_every_relative_link_leads_to_a_file_or_folder_of_the_project(document):
    for target in targets(document):
        assert target.exists() and target.is_relative_to(PROJECT), target


def test_every_document_is_reached_from_the_readme():
    reached, waiting = set(), [README]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        waiting += {target for target in targets(document) if target.suffix == ".md"} - reached
    # A package's README names the guide beside it.
    guides = {path for path in documents() if path.name == "ADDING.md" and path.is_relative_to(PROJECT / "pruner")}
    assert set(documents()) - guides == reached - guides


def test_the_workflow_runs_the_checks_that_contributing_names():
    contributing = (PROJECT / ".github/CONTRIBUTING.md").read_text()
    named = re.search(r"## Check\n.*?^```\n(.*?)^```", contributing, re.DOTALL | re.MULTILINE)[1].splitlines()
    workflow = (PROJECT / ".github/workflows/checks.yml").read_text()
    assert re.findall(r"run: (.*)", workflow)[1:] == [f"{command} --cov" for command in named] != []


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_every_file_that_a_package_names_is_there(package):
    docstring = ast.get_docstring(ast.parse(package.read_text()))
    for name in re.findall(r"[\w/]+\.(?:py|sql|md)\b", docstring):
        assert (package.parent / name).exists() or (PROJECT / name).exists(), name


def test_the_map_of_the_code_names_every_package():
    text = (PROJECT / "pruner/README.md").read_text()
    for package in PACKAGES:
        if package.parent.parent == PROJECT / "pruner":
            assert f"`{package.parent.name}`" in text, package.parent.name
