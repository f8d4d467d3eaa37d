"""Finding files by the short names that experiments and people use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import SpecError, UsageError, nearest
from faultload.spec.documents import is_there
from faultload.spec.experiment import Experiment, load_experiment
from faultload.spec.given import GivenBlock
from faultload.spec.scenario import Scenario, load_scenario
from faultload.spec.slo import SLO, load_slos
from faultload.spec.target import TargetSpec, load_target
from faultload.spec.windows import WINDOWS_FILE
from faultload.spec.wording import found

STORE = "baselines"
"""Where baselines and accepted runs are kept, below the root, unless somebody says otherwise."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Catalogue:
    """The files under one project root: experiments/, scenarios/, slos/, targets/.

    Attributes:
        root: the folder that holds them.
        given: stands in for the extension block of experiments that have none; None: all have one.
    """

    root: Path
    given: GivenBlock | None = None

    @classmethod
    def find(cls, start: Path) -> Catalogue:
        """Return the catalogue of `start` or of the nearest folder above that has experiments/.

        Raises:
            UsageError: no such folder.
        """
        for folder in (start, *start.parents):
            if (folder / "experiments").is_dir() and (folder / "targets").is_dir():
                return cls(folder)
        raise UsageError(
            f"{start}: expected a folder with experiments/ and targets/ here or above, found none;"
            " run faultload from the root of your project or pass --root"
        )

    @property
    def store(self) -> Path:
        """The baseline store; it may not be there yet."""
        return self.root / STORE

    def experiment_paths(self) -> list[Path]:
        """Every experiment file, in path order."""
        return sorted((self.root / "experiments").rglob("*.yaml"))

    def experiment(self, name: str) -> Experiment:
        """Return an experiment by path or by `folder/name`."""
        return load_experiment(self.experiment_path(name), self.given)

    def experiment_path(self, name: str) -> Path:
        """Return where an experiment is, by path or by `folder/name`; a path may lead nowhere.

        Raises:
            UsageError: there is none of that name.
        """
        given = Path(name)
        if given.suffix in (".yaml", ".yml"):
            return given if is_there(given) else self.root / given
        home = self.root / "experiments"
        path = home / f"{name}.yaml"
        if not is_there(path):
            known = [str(p.relative_to(home).with_suffix("")) for p in self.experiment_paths()]
            more = nearest(name, known) or "; faultload run --all --list shows what there is"
            raise UsageError(f"no experiment {name!r} in {home}{more}")
        return path

    def scenario(self, name: str, asked_by: Path | None = None) -> tuple[Path, Scenario]:
        """Return a scenario and its path; `asked_by` is the file named in the error."""
        key = "extensions[faultload].scenario"
        if asked_by is not None and not _NAME.fullmatch(name):
            problem = f"expected the name of a file in scenarios/, found {found(name)}"
            raise SpecError(asked_by, key, problem)
        path = self._path("scenarios", name, asked_by, key)
        return path, load_scenario(path)

    def target(self, name: str, asked_by: Path | None = None) -> tuple[Path, TargetSpec]:
        """Return a target and its path, by path or by the stem of a file in targets/.

        `asked_by` is the file named in the error.
        """
        path = self._path("targets", name, asked_by, "target")
        return path, load_target(path)

    def slos(self, names: Sequence[str], asked_by: Path) -> list[SLO]:
        """Return the SLOs with these names, in that order; a file's stem stands for all in it.

        Raises:
            SpecError: an unknown name, or one that two files define.
        """
        by_name: dict[str, SLO] = {}
        by_file: dict[str, list[SLO]] = {}
        for path in self.slo_paths():
            by_file[path.stem] = load_slos(path)
            for slo in by_file[path.stem]:
                if slo.name in by_name:
                    raise SpecError(
                        path, "metadata.name", f"{slo.name!r} is given twice: in another file too"
                    )
                by_name[slo.name] = slo
        chosen: dict[str, SLO] = {}
        for index, name in enumerate(names):
            if name in by_name:
                chosen[name] = by_name[name]
            elif name in by_file:
                chosen.update({slo.name: slo for slo in by_file[name]})
            else:
                known = [*by_name, *by_file]
                near = nearest(name, known) or f"; there are {', '.join(known) or 'none'}"
                raise SpecError(
                    asked_by,
                    f"extensions[faultload].slos[{index}]",
                    f"no SLO named {name!r} in slos/{near}",
                )
        return list(chosen.values())

    @property
    def windows_path(self) -> Path:
        """Where the burn-rate windows are; a project may have none."""
        return self.root / "slos" / WINDOWS_FILE

    def slo_paths(self) -> list[Path]:
        """Every file of SLOs, in path order."""
        return sorted(set((self.root / "slos").glob("*.yaml")) - {self.windows_path})

    def names(self, folder: str) -> list[str]:
        """Stems of the YAML files in one folder; of slos/, those that hold SLOs."""
        if folder == "slos":
            return self._stems(self.slo_paths())
        return self._stems((self.root / folder).glob("*.yaml"))

    @staticmethod
    def _stems(paths: Iterable[Path]) -> list[str]:
        return sorted(p.stem for p in paths)

    def _path(self, folder: str, name: str, asked_by: Path | None, key: str) -> Path:
        given = Path(name)
        if given.suffix in (".yaml", ".yml"):
            return given if is_there(given) else self.root / given
        path = self.root / folder / f"{name}.yaml"
        if is_there(path):
            return path
        known = self.names(folder)
        listed = f"; there are {', '.join(known) or 'none'}"
        near = nearest(name, known) or listed
        problem = f"no {folder.removesuffix('s')} named {name!r} in {folder}/{near}"
        if asked_by is None:
            raise UsageError(problem)
        raise SpecError(asked_by, key, problem)
