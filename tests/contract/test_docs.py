"""Documents are maps: what they point at exists, and the glossary has every word of the files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaoslib.experiment import ensure_experiment_is_valid
from pydantic import BaseModel

from faultload.judge import Verdict
from faultload.record import Outcome, PhaseName, RequestStatus
from faultload.spec import StopSpec, load_experiment, load_scenario, load_slos, load_target
from faultload.spec.experiment import BlastRadius, Expects, FaultloadBlock, Phases
from faultload.spec.reading import parse, read_document

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = sorted(
    [
        *_ROOT.glob("*.md"),
        *(_ROOT / "docs").rglob("*.md"),
        *(_ROOT / "reports/samples").glob("*.md"),
    ]
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_MAKE = re.compile(r"(?<!trace )\bmake ((?:[a-z-]+ ?)+)")
# Made by set-up or by a run, so they need not exist in a fresh checkout.
_MADE = ("reports/", ".venv", ".tools")
_SUFFIXES = (".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".png", ".html", "/")

_each_document = pytest.mark.parametrize(
    "document", _DOCUMENTS, ids=[str(path.relative_to(_ROOT)) for path in _DOCUMENTS]
)


def _paths_in(text: str) -> Iterator[str]:
    """Spans that look like a path of this repository; templates and examples are left out."""
    for span in _SPAN.findall(text):
        word = span.strip()
        if "/" not in word or re.search(r"[\s<>${}()=:|…]", word) or word.startswith(("/", "-")):
            continue
        if (_ROOT / word.split("/")[0]).exists() or word.endswith(_SUFFIXES):
            yield word


def _exists(word: str, document: Path) -> bool:
    if word.startswith(_MADE) and not word.startswith("reports/samples"):
        return True
    bases = (_ROOT, document.parent, _ROOT / "src/faultload", _ROOT / "platform/src")
    return any(list(base.glob(word.rstrip("/"))) for base in bases)


@_each_document
def test_paths_exist(document: Path) -> None:
    """Every path a document names, in a code span, leads somewhere."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    missing = [word for word in _paths_in(text) if not _exists(word, document)]
    assert not missing


@_each_document
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link leads to a file, and to a heading where it names one."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    broken = []
    for link in _LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def _anchors(document: Path) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    headings = _HEADING.findall(document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


@_each_document
def test_make_targets_exist(document: Path) -> None:
    """Every `make x` a document shows is in the Makefile."""
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    code = _SPAN.findall(text) + _FENCE.findall(text)
    asked = {match[1].split()[0] for part in code for match in _MAKE.finditer(part)}
    assert asked <= known


def test_decisions_are_numbered() -> None:
    """Decisions count up from 1 without a gap; each gives its context, choice and consequences."""
    decisions = sorted((_ROOT / "docs/decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        headings = _HEADING.findall(path.read_text(encoding="utf-8"))
        assert {"Context", "Choice", "Consequences"} <= set(headings), path.name


def test_example_files_are_valid(tmp_path: Path) -> None:
    """What the guide shows is what we read: people begin by copying it."""
    guide = (_ROOT / "docs/writing-experiments.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    loaders: dict[str, Callable[[Path], object]] = {
        "title": load_experiment,
        "name": load_scenario,
        "apiVersion": load_slos,
        "stop": lambda path: parse(StopSpec, read_document(path)["stop"], path),
        "freeze": _load_keys_of_a_target,
        "preflight": _load_keys_of_a_target,
    }
    seen = set()
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, encoding="utf-8")
        kind = text.split(":")[0]
        loaders[kind](path)
        seen.add(kind)
        if kind == "title":
            ensure_experiment_is_valid(load_experiment(path).raw)
    assert seen == set(loaders)


def _load_keys_of_a_target(path: Path) -> None:
    """Read what an example shows of a target file with what every such file has."""
    rest = path.read_text(encoding="utf-8")
    path.write_text(f"name: t\nkind: local\nlocal: {{config: x.yaml}}\n{rest}", encoding="utf-8")
    load_target(path)


def _words() -> set[str]:
    models: tuple[type[BaseModel], ...] = (FaultloadBlock, Phases, BlastRadius, Expects)
    fields = {name for model in models for name in model.model_fields} - {"name"}
    values = {str(word) for enum in (Verdict, Outcome, PhaseName, RequestStatus) for word in enum}
    return fields | values | {"ttft_s", "tpot_s", "e2e_s", "gap_s_max", "served", "intact"}


def test_glossary_has_every_word_of_the_files() -> None:
    """Each key, verdict, outcome, phase and request status is explained where people look it up."""
    glossary = (_ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    explained = set(_SPAN.findall(glossary))
    assert sorted(_words() - explained) == []


def test_guide_has_one_row_for_each_claim() -> None:
    """Who writes an experiment finds all that `expects` takes in one table, and nothing twice."""
    guide = (_ROOT / "docs/writing-experiments.md").read_text(encoding="utf-8")
    table = guide.partition("## What can be claimed")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(Expects.model_fields)
    elsewhere = re.findall(r"^\| `(\w+)` \|", guide.replace(table, ""), re.MULTILINE)
    assert not set(elsewhere) & set(rows)


def test_guide_has_one_row_for_each_stop_condition() -> None:
    """Who is responsible for a target finds all that can end a run, and nothing that cannot."""
    guide = (_ROOT / "docs/writing-experiments.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `stop\.(\w+)` \|", guide, re.MULTILINE)
    assert sorted(rows) == sorted(StopSpec.model_fields)
