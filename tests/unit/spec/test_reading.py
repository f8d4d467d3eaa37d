"""YAML in, frozen objects out; every mistake is one line that says where and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faultload.errors import ExitCode, SpecError
from faultload.spec import load_scenario, load_slos, load_target
from faultload.spec.reading import read_document, read_documents

Mend = Callable[[str, str, str], Path]


def _file(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a YAML mapping, found an empty file"),
        ("# only a comment\n", "found an empty file"),
        ("- a\n- b\n", "expected a YAML mapping, found a list"),
        ("just words\n", "expected a YAML mapping, found a text"),
        ("a: 1\nb: [1, 2\n", "line 3, column 1: not valid YAML"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: not valid YAML: key 'a' is given twice"),
        ("a: {b: 1, b: 2}\n", "line 1, column 11: not valid YAML: key 'b' is given twice"),
        ("a: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
        ("a: *nobody\n", "undefined alias"),
        (b"a: \xff\xfe\n", "cannot be read"),
        ("a: " + "[" * 5000 + "\n", "not valid YAML"),
        ("a: 1\n---\na: 2\n", "expected one YAML document, found 2"),
    ],
)
def test_bad_file_is_one_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    """A file that is no YAML mapping names itself, the line where there is one, and the reason."""
    path = _file(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        read_document(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_what_a_reader_changes_is_its_own(tmp_path: Path) -> None:
    """A text that was read is known: whoever reads it again, from any file, gets what it says."""
    path = _file(tmp_path, "a: {b: [1, 2]}\n")

    read_document(path)["a"]["b"].append(3)

    assert read_document(path) == {"a": {"b": [1, 2]}}


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    """A file name with a slip of the finger is told what is there."""
    (tmp_path / "chat-steady.yaml").write_text("a: 1\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"no such file; did you mean 'chat-steady\.yaml'"):
        read_document(tmp_path / "chat-stedy.yaml")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    """A folder where a file was expected is an error of the same kind."""
    with pytest.raises(SpecError, match="cannot be read"):
        read_document(tmp_path)


def test_documents_come_in_order_and_merge_keys_work(tmp_path: Path) -> None:
    """Anchors and merges are YAML's own way to repeat less; they are not duplicate keys."""
    path = _file(tmp_path, "x: &x {a: 1}\ny: {<<: *x, b: 2}\n---\nz: 3\n")
    assert read_documents(path) == [{"x": {"a": 1}, "y": {"a": 1, "b": 2}}, {"z": 3}]


_SCENARIO, _SLO, _TARGET = "scenarios/chat.yaml", "slos/batch.yaml", "targets/local.yaml"
_LOADERS: dict[str, Callable[[Path], object]] = {
    _SCENARIO: load_scenario,
    _SLO: load_slos,
    _TARGET: load_target,
}
_SWAPPED = "expected min <= median <= max, found 1, 600, 200"


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "says"),
    [
        (_SCENARIO, "tiers:", "teirs:", "teirs", "did you mean 'tiers'?"),
        (_SCENARIO, "rate_rps:", "rate_rsp:", "arrivals.rate_rsp", "mean 'rate_rps'?"),
        (_SCENARIO, "weight:", "wieght:", "tiers[0].wieght", "did you mean 'weight'?"),
        (_SCENARIO, "kind: poisson", "kind: poison", "arrivals.kind", "poison"),
        (_SCENARIO, "rate_rps: 8", "rate_rps: fast", "arrivals.rate_rps", "found 'fast'"),
        (_SCENARIO, "rate_rps: 8", "rate_rps: .nan", "arrivals.rate_rps", "found nan"),
        (_SCENARIO, "rate_rps: 8", "rate_rps: 0", "arrivals.rate_rps", "found 0"),
        (_SCENARIO, "median: 60", "median: 600", "tiers[0].output_tokens", _SWAPPED),
        (_SCENARIO, "description: Steady chat.\n", "", "description", "required and missing"),
        (_SLO, "e2e_s <= 60", "e2e <= 60", "spec.good", "found 'e2e <= 60'"),
        (_SLO, "0.95", "95", "spec.objectives[0].target", "found 95"),
        (_SLO, "30d", "30 days", "spec.timeWindow[0].duration", "found '30 days'"),
        (_SLO, "rawType", "rawtype", "ratioMetric.rawtype", "did you mean 'rawType'?"),
        (_SLO, "openslo/v1", "openslo/v2", "apiVersion", "found 'openslo/v2'"),
        (_TARGET, "baseline_s", "basline_s", "phases.basline_s", "did you mean 'baseline_s'?"),
        (_TARGET, "kind: local", "kind: moon", "kind", "found 'moon'"),
    ],
)
def test_wrong_key_or_value_says_where(
    mend: Mend, name: str, old: str, new: str, key: str, says: str
) -> None:
    """The error names the key's path in the file, what was found, and the nearest right word."""
    path = mend(name, old, new)
    with pytest.raises(SpecError) as caught:
        _LOADERS[name](path)
    assert caught.value.key.endswith(key)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_mistakes_are_counted(mend: Mend) -> None:
    """One line names the first mistake and says how many more there are."""
    mend("scenarios/chat.yaml", "weight: 1", "weight: none")
    path = mend("scenarios/chat.yaml", "rate_rps: 8", "rate_rps: fast")
    with pytest.raises(SpecError, match=r"\(and 1 more\)"):
        load_scenario(path)


def test_slo_name_given_twice_in_a_file(mend: Mend) -> None:
    """Two SLOs of one name would leave it open which one is judged."""
    path = mend("slos/chat.yaml", "name: chat-served", "name: chat-ttft")
    twice = r"document\[1\]\.metadata\.name: 'chat-ttft' is given twice"
    with pytest.raises(SpecError, match=twice):
        load_slos(path)
