"""The project's own files, changed at random: read and planned, or refused by file and key."""

from __future__ import annotations

import datetime as dt
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from malformed import copied, nothing_is_done

from faultload.errors import MissingError, RefusedError, SpecError, UsageError
from faultload.load import check_size, make_trace
from faultload.run.harm import harm_of
from faultload.run.plan import prepare
from faultload.spec import Catalogue, load_gameday
from faultload.spec.gameday import check_gameday

_ROOT = Path(__file__).parents[3]
_FOLDERS = ("experiments", "scenarios", "slos", "targets", "gamedays")
_FILES = sorted(
    path.relative_to(_ROOT) for folder in _FOLDERS for path in (_ROOT / folder).rglob("*.yaml")
)
_TEXTS = {path: (_ROOT / path).read_text(encoding="utf-8") for path in _FILES}
_DOCUMENTS = {
    path: list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    for path, text in _TEXTS.items()
}
_CPU_S_MAX = 20.0
"""Of one file; the slowest there is takes a hundredth."""

_ODD = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 7, 10**9, 10**30, -(10**30), 2**63),
        *(0.5, 1e-300, 1e308, -1e308, math.nan, math.inf, -math.inf),
        *("", " ", "x", "8", "yes", "null", "~", "a\nb", "größe", "\u202eevil", "🦀", "x" * 5000),
        *("../../etc/passwd", "/etc/passwd", "${hold_s}", "${nobody}", "{{ 7 * 7 }}", "%s%n"),
        *('{"type": "probe"}', "[" * 3000, "engine", "served", "python", "0d", "1e9"),
        *([], {}, [[]], [None], {"a": {}}, [{}], {"name": "faultload"}, {"type": "env"}),
        *({"type": "env", "key": "NOWHERE"}, {"type": "probe"}, [1, "a", None]),
        dt.date(2026, 2, 3),
    ]
)
_MARKS = ("\t", "- ", ": ", "&a ", "*a ", "{", '"', "\n---\n")
_HOW = ("replace", "delete", "rename", "double", "wrap", "nest", "swap", "retype")


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Return every (holder, key or index) of a document."""
    inside = list(document.items() if isinstance(document, dict) else enumerate(document))
    found = [(document, key) for key, _ in inside]
    for _, value in inside:
        found += _places(value) if isinstance(value, dict | list) else []
    return found


def _change(draw: st.DrawFn, document: Any) -> None:  # noqa: C901  # one case a kind of change
    """Change one place, if there is one left."""
    places = _places(document)
    if not places:
        return
    holder, key = draw(st.sampled_from(places), label="where")
    how = draw(st.sampled_from(_HOW))
    value = holder[key]
    match how:
        case "replace":
            holder[key] = copied(draw(_ODD))  # a later change must not reach the one to draw from
        case "delete":
            del holder[key]
        case "rename" if isinstance(holder, dict):
            del holder[key]
            holder[draw(st.sampled_from(["x", 7, None, True, f"{key}s", str(key)[:-1]]))] = value
        case "double" if isinstance(holder, list):
            holder.insert(key, copied(value))
        case "wrap":
            holder[key] = draw(st.sampled_from([[value], {"value": value}, [value, value]]))
        case "nest":
            for _ in range(draw(st.sampled_from([3, 30, 100]))):
                value = [value]
            holder[key] = value
        case "swap":
            other, there = draw(st.sampled_from(places))
            if isinstance(other, type(holder)) and there in (
                other if isinstance(other, dict) else range(len(other))
            ):
                holder[key], other[there] = other[there], value
                holder[key] = copied(holder[key])
        case _:
            holder[key] = str(value) if isinstance(value, int | float) else 3


@st.composite
def _spoilt(draw: st.DrawFn) -> tuple[Path, str]:
    """Return a file of the project and what is to be in it."""
    path = draw(st.sampled_from(_FILES))
    if draw(st.integers(0, 4)) == 0:
        text = _TEXTS[path]
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 40))
        more = draw(
            st.text(max_size=6) | st.sampled_from(["\t", "- ", ": ", "&a ", "*a ", "{", '"'])
        )
        return path, text[:at] + more + text[at + length :]
    documents = copied(_DOCUMENTS[path])
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, draw(st.sampled_from(documents)))
    return path, yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a copy of the project's own files, as the current folder."""
    root = tmp_path_factory.mktemp("fuzz")
    for folder in _FOLDERS:
        shutil.copytree(_ROOT / folder, root / folder)
    (root / "platform").mkdir()
    for name in ("local.yaml", "local-autoscaling.yaml"):
        shutil.copy(_ROOT / "platform" / name, root / "platform" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        yield root


def _use(catalogue: Catalogue, path: Path) -> None:
    """Read one file as a command would, as far as it goes without a target."""
    experiment, target = "engine/replica-loss", "local"
    match path.parts[0]:
        case "gamedays":
            day = load_gameday(path)
            check_gameday(day, path, catalogue)
            return
        case "scenarios":
            _, scenario = catalogue.scenario(str(path))
            check_size(scenario, path, 0.5)
            make_trace(scenario, 0.5, scenario.seed, path.parent)
            return
        case "experiments":
            experiment = str(path)
        case "targets":
            target = str(path)
        case _:
            pass
    plan = prepare(catalogue, experiment, target)
    harm_of(plan)
    assert math.isfinite(plan.length_s)


def _plan_or_refuse(project: Path, path: Path, text: str) -> None:
    """Plan with a spoilt file: one line of error with file and key, and nothing else."""
    sound = _TEXTS[path]
    (project / path).write_text(text, encoding="utf-8", errors="surrogatepass")
    began_s = time.process_time()
    try:
        with nothing_is_done():
            _use(Catalogue(project), path)
        event("planned")
    except SpecError as error:
        event("refused")
        said = str(error)
        assert "\n" not in said  # both ends are right
        assert error.problem  # noqa: PT017
        assert error.key or "YAML" in said or "read" in said or "Toolkit" in said  # noqa: PT017
        assert len(said) < 2000
    except (UsageError, RefusedError, MissingError) as error:
        event(type(error).__name__)
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        (project / path).write_text(sound, encoding="utf-8")
    assert time.process_time() - began_s < _CPU_S_MAX


def _files(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@_files(60)
@given(spoilt=_spoilt())
def test_any_file_is_planned_or_refused(project: Path, spoilt: tuple[Path, str]) -> None:
    """One line with file and key, never another error, nothing done, and never without end."""
    _plan_or_refuse(project, *spoilt)


@pytest.mark.full
@_files(2000)
@given(spoilt=_spoilt())
def test_many_files_are_planned_or_refused(project: Path, spoilt: tuple[Path, str]) -> None:
    """The same over thousands of files: some mistakes take two that meet."""
    _plan_or_refuse(project, *spoilt)
