"""`pytest -m chaos --target NAME`: every experiment is a test item.

Items are collected only when the marker expression asks for chaos, so that plain `pytest` never
breaks anything. Where they run: `run.site`. It exits as pytest does, but with 69, as
`faultload run` does, where experiments were selected and every one was skipped.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faultload.errors import (
    ExitCode,
    FaultloadError,
    Interrupted,
    RefusedError,
    SkippedError,
    SpecError,
    UsageError,
)
from faultload.secrecy import keep_environment, redacted, redacted_pieces

if TYPE_CHECKING:
    from faultload.run.flow import RunResult
    from faultload.run.site import Site
    from faultload.spec import Experiment

_CONFIRM, _GAME_DAY = "--chaos-confirm", "--chaos-game-day"
_LETTERS = {"fail": "F", "inconclusive": "?", "invalid": "!"}
_SITE = pytest.StashKey["Site"]()
_SAMPLE = pytest.StashKey[str]()
_RAN = pytest.StashKey[bool]()
_NONE_RAN = pytest.StashKey[str]()
_RERUN = pytest.StashKey[list[str]]()


class ExperimentNotPassed(Exception):  # noqa: N818  # it is a verdict, not an error
    """An experiment's verdict is not pass."""

    def __init__(self, result: RunResult) -> None:
        """Carry the verdict and the sentence that explains it."""
        self.verdict = result.judgement.verdict
        self.report = result.directory.path / "report.html"
        super().__init__(f"{self.verdict}: {result.judgement.reason}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--target` and the options that begin with `--chaos`."""
    group = parser.getgroup("faultload")
    group.addoption("--target", default="local", help="target of chaos experiments")
    group.addoption(
        "--chaos-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the local platform's configuration",
    )
    group.addoption("--chaos-reports", default=None, help="where run directories go")
    group.addoption(
        "--chaos-store", default=None, help="of accepted runs, which say how runs differ"
    )
    group.addoption(
        "--chaos-select",
        default="",
        metavar="EXPRESSION",
        help="only experiments whose name, tags or faults match, as faultload run -k has it",
    )
    group.addoption(
        "--chaos-sample", type=int, default=None, metavar="N", help="only so many of them"
    )
    group.addoption(
        "--chaos-seed", default="", help="any text that draws the sample; default: drawn, and said"
    )
    group.addoption(
        "--chaos-cooldown-max",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="longest wait between experiments for the target to be steady",
    )
    group.addoption(
        "--chaos-reruns",
        type=int,
        default=0,
        metavar="N",
        help="repeat a run that our load client spoilt, at most so often",
    )
    group.addoption(
        "--chaos-skip-spoilt",
        action="store_true",
        help="skip an experiment whose every run our load client spoilt; else it is invalid",
    )
    for name, metavar, text in (
        (
            _CONFIRM,
            "TARGET",
            "harm a target that is production: say its name, here and nowhere else",
        ),
        (_GAME_DAY, "ID", "the same, as part of this game day"),
    ):
        group.addoption(name, default=None, metavar=metavar, help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; refuse samples that cannot be drawn, and words that nobody typed.

    Raises:
        pytest.UsageError: a sample of none, a seed without a sample, or a confirmation that is in
            `addopts` or in PYTEST_ADDOPTS.
    """
    for option in (_CONFIRM, _GAME_DAY):
        words = config.invocation_params.args
        is_typed = any(word == option or word.startswith(f"{option}=") for word in words)
        if config.getoption(option) is not None and not is_typed:
            raise pytest.UsageError(
                f"{option}: expected on the command line itself, found in a file or in an"
                " environment variable: it is a person's word for one session"
            )
    config.addinivalue_line("markers", "chaos: an experiment that breaks a platform on purpose")
    size, seed = config.getoption("--chaos-sample"), config.getoption("--chaos-seed")
    if size is not None and size < 1:
        raise pytest.UsageError(f"--chaos-sample: expected 1 or more, found {size}")
    if seed and size is None:
        raise pytest.UsageError("--chaos-seed: expected --chaos-sample beside it")
    reruns = config.getoption("--chaos-reruns")
    if not reruns:
        return
    # Imported here: a session that asks for no chaos must not pay for it.
    from faultload.spec.gameday import RERUNS_MAX  # noqa: PLC0415

    if not 0 <= reruns <= RERUNS_MAX:
        raise pytest.UsageError(f"--chaos-reruns: expected 0 to {RERUNS_MAX}, found {reruns}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the YAML files under experiments/ when chaos is asked for."""
    asked = "chaos" in (parent.config.getoption("markexpr") or "")
    is_experiment = file_path.suffix == ".yaml" and "experiments" in file_path.parts
    if not (asked and is_experiment):
        return None
    return ExperimentFile.from_parent(parent, path=file_path)


@pytest.hookimpl(trylast=True)  # a sample is drawn from what -k and -m leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the experiments that are not selected or not in the sample."""
    there = [item.experiment for item in items if isinstance(item, ExperimentItem)]
    expression, size = config.getoption("--chaos-select"), config.getoption("--chaos-sample")
    if not there or not (expression or size is not None):
        return
    # Imported here: a session that asks for no chaos must not pay for it.
    from faultload.spec.selection import matching, sample  # noqa: PLC0415

    try:
        names = [one.name for one in (matching(there, expression) if expression else there)]
    except UsageError as error:
        raise pytest.UsageError(f"--chaos-select: {error}") from None
    if size is not None:
        seed = config.getoption("--chaos-seed") or secrets.token_hex(4)
        taken = sample(names, size, seed)
        again = shlex.join(taken)
        config.stash[_SAMPLE] = (
            f"chaos: a sample of {len(taken)} of {len(names)}, seed {seed}; the same again:"
            f" faultload run {again} --target {config.getoption('--target')} --order given"
        )
        names = taken
    left_out = [
        item
        for item in items
        if isinstance(item, ExperimentItem) and item.experiment.name not in names
    ]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    """Say which experiments the sample took, and how to take them again."""
    return config.stash.get(_SAMPLE, "")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End with 69 where experiments were selected and none ran: that shows nothing, good or bad."""
    count = sum(isinstance(item, ExperimentItem) for item in getattr(session, "items", ()))
    config = session.config
    if exitstatus != pytest.ExitCode.OK or not count or config.option.collectonly:
        return
    if not config.stash.get(_RAN, False):
        session.exitstatus = int(ExitCode.MISSING)
        config.stash[_NONE_RAN] = (
            f"chaos: none of {count} selected experiments ran, all were skipped (-rs says why):"
            f" exit code {session.exitstatus}"
        )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which runs were repeated, and that nothing was shown where no experiment ran."""
    for line in config.stash.get(_RERUN, []):
        terminalreporter.write_line(line)
    said = config.stash.get(_NONE_RAN, "")
    if said:
        terminalreporter.write_line(said)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the session's platform."""
    site = config.stash.get(_SITE, None)
    if site is not None:
        site.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the verdict on the report, for the letter and for other plugins."""
    report = yield
    problem = call.excinfo.value if call.excinfo else None
    if isinstance(item, ExperimentItem):
        _redact(report)
    if isinstance(item, ExperimentItem) and report.when == "call" and not report.skipped:
        item.config.stash[_RAN] = True
    if isinstance(item, ExperimentItem) and isinstance(problem, ExperimentNotPassed):
        report.user_properties.append(("verdict", problem.verdict.value))
    return report


def _redact(report: pytest.TestReport) -> None:
    """Hide secrets in what terminal, JUnit and other plugins show of it."""
    report.sections = [(name, redacted_pieces(text)) for name, text in report.sections]
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, redacted_pieces(reason))
    elif report.longrepr is not None:
        report.longrepr = redacted_pieces(str(report.longrepr))


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    """Tell fail, inconclusive and invalid apart."""
    verdict = dict(getattr(report, "user_properties", [])).get("verdict")
    if report.when != "call" or not isinstance(verdict, str):
        return None
    return ("failed", _LETTERS[verdict], verdict.upper())


class ExperimentFile(pytest.File):
    """One experiment file."""

    def collect(self) -> Iterator[ExperimentItem]:
        """Yield its one item, named by its claim."""
        # Imported here: a session that asks for no chaos must not pay for it.
        from faultload.spec import load_experiment  # noqa: PLC0415

        try:
            experiment = load_experiment(self.path)
        except SpecError as error:
            raise self.CollectError(str(error)) from None
        yield ExperimentItem.from_parent(self, name=experiment.title, experiment=experiment)


class ExperimentItem(pytest.Item):
    """One experiment."""

    def __init__(self, *, experiment: Experiment, **kwargs: Any) -> None:
        """Mark it, so that `-m chaos` selects it."""
        super().__init__(**kwargs)
        self.experiment = experiment
        self.add_marker("chaos")

    def runtest(self) -> None:
        """Run it once its platform is whole; anything but pass raises."""
        keep_environment()
        from faultload.run.consent import Consent  # noqa: PLC0415
        from faultload.run.flow import run_experiment  # noqa: PLC0415
        from faultload.run.guards import admit  # noqa: PLC0415
        from faultload.run.plan import prepare  # noqa: PLC0415
        from faultload.run.progress import Silent  # noqa: PLC0415
        from faultload.spec import Catalogue  # noqa: PLC0415

        option = self.config.getoption
        reports = option("--chaos-reports")
        catalogue = Catalogue.find(self.path.parent)
        plan = prepare(
            catalogue,
            str(self.path),
            option("--target"),
            reports=Path(reports) if reports else None,
        )
        plan = replace(
            plan,
            consent=Consent.of(option(_CONFIRM), option(_GAME_DAY)),
            store=option("--chaos-store") or str(catalogue.store),
        )
        admit(plan, datetime.now(UTC))  # before the target is opened
        site, left = self._site(), option("--chaos-reruns")
        while True:
            try:
                site.wait(plan)
            except RefusedError as error:
                # The rest would wait as long, in vain.
                self.session.shouldfail = redacted(str(error))
                raise
            try:
                result = run_experiment(plan, site.target, Silent())
            except SkippedError as error:
                pytest.skip(str(error))
            if not (result.spoilt and left):
                break
            left -= 1
            self.user_properties.append(("earlier_run", result.directory.path.name))
            page = os.path.relpath(result.directory.path / "report.html")
            again = f"chaos: {plan.experiment.name} ran again: {result.spoilt} ({page})"
            self.config.stash.setdefault(_RERUN, []).append(redacted(again))
        if result.spoilt and option("--chaos-skip-spoilt"):
            pytest.skip(f"not measured: {result.spoilt}")
        if result.defect is not None:
            raise result.defect
        if isinstance(result.error, Interrupted):
            # Chaos Toolkit and pytest would both go on to the next experiment.
            pytest.exit(
                f"{redacted(str(result.error))}; everything is reverted",
                returncode=result.exit_code,
            )
        if result.judgement.verdict.value != "pass":
            raise ExperimentNotPassed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        """Say the verdict, the reason and where the report is."""
        problem = excinfo.value
        if isinstance(problem, ExperimentNotPassed):
            return f"{problem}\nreport: {os.path.relpath(problem.report)}"
        if isinstance(problem, FaultloadError):
            return str(problem)
        return str(super().repr_failure(excinfo, style))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the file and the claim."""
        return self.path, None, self.name

    def _site(self) -> Site:
        from faultload.run.site import open_site  # noqa: PLC0415
        from faultload.spec import Catalogue  # noqa: PLC0415

        if _SITE not in self.config.stash:
            option = self.config.getoption
            self.config.stash[_SITE] = open_site(
                Catalogue.find(self.path.parent),
                option("--target"),
                option("--chaos-set"),
                option("--chaos-cooldown-max"),
            )
        return self.config.stash[_SITE]
