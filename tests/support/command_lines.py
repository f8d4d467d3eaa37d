"""Holds command lines of a page against what there is: charts, Terraform, images, programs.

list(mistakes("terraform -chdir=terraform output -raw report_bucket"))    # none: it can be typed

What only AWS, a registry or a cluster knows is not looked at.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from charts import CHARTS
from environments import made_by_others, read, repositories
from platform_tools import ROOT
from terraform_code import parse

_TIMEOUT_S = 60.0
# What variables of a page stand for while it is checked.
_VARIABLES = {"ENV": "staging", "PWD": ".", "REGISTRY": "registry.example.com"}
_INNER = re.compile(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def commands(markdown: str) -> list[str]:
    """Return every command line of a page's fenced blocks; those of JSON and YAML are not."""
    blocks = re.findall(r"^ *```(?:sh)?\n(.*?)^ *```$", markdown, re.MULTILINE | re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def mistakes(line: str) -> Iterator[str]:
    """Yield what of a command line does not exist."""
    for inner in _INNER.findall(line):
        yield from mistakes(inner)
    outer = _INNER.sub("ANSWER", line)
    for name, value in _VARIABLES.items():
        outer = re.sub(rf"\$\{{?{name}\b\}}?", value, outer)
    for part in _parts(outer):
        words = [word for word in part if not re.fullmatch(r"[A-Z_]+=.*", word)]
        while words and words[0] == "export":
            words = words[1:]
        if words:
            yield from _of(words)


def _parts(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a pipeline, comments left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    found: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;"):
            yield found
            found = []
        else:
            found.append(word)
    yield found


def _of(words: list[str]) -> Iterator[str]:
    check = _CHECKS.get(words[0])
    if check is None:
        yield f"{words[0]}: not a program that this page explains"
        return
    yield from check(words)


def _options(words: list[str], *names: str) -> Iterator[str]:
    """Yield every value of options, as `--name value` or `--name=value`."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in names:
            yield following
        elif word.startswith("--") and word.partition("=")[0] in names and "=" in word:
            yield word.partition("=")[2]


def _file(path: str) -> Iterator[str]:
    if not (ROOT / path).exists():
        yield f"{path}: no such file"


def _terraform(words: list[str]) -> Iterator[str]:
    (place,) = [word.partition("=")[2] for word in words if word.startswith("-chdir=")] or ["."]
    if not list((ROOT / place).glob("*.tf")):
        yield f"{place}: no Terraform"
        return
    folder = parse(ROOT / place)
    if "output" in words and words[-1] != "output" and words[-1] not in folder.outputs:
        yield f"{place}: no output {words[-1]}"
    for given in _options(words, "-var"):
        if given.partition("=")[0] not in folder.variables:
            yield f"{place}: no variable {given.partition('=')[0]}"


def _helm(words: list[str]) -> Iterator[str]:
    if words[1] not in {"install", "upgrade", "template"}:
        return
    charts = {str(path.relative_to(ROOT)): name for name, path in CHARTS.items()}
    named = [charts[word.rstrip("/")] for word in words if word.rstrip("/") in charts]
    if len(named) != 1:
        yield f"{shlex.join(words)}: expected one chart of ours"
        return
    for path in _options(words, "-f", "--values"):
        yield from _file(path)
    schema = json.loads((CHARTS[named[0]] / "values.schema.json").read_text(encoding="utf-8"))
    for given in _options(words, "--set", "--set-string"):
        if not _knows(schema, given.partition("=")[0].split(".")):
            yield f"{named[0]}: no value {given.partition('=')[0]}"


def _knows(schema: dict[str, Any], path: list[str]) -> bool:
    if not path:
        return True
    inner = schema.get("properties", {})
    if path[0] in inner:
        return isinstance(inner[path[0]], dict) and _knows(inner[path[0]], path[1:])
    return bool(schema.get("additionalProperties", True))


def _kubectl(words: list[str]) -> Iterator[str]:
    for path in _options(words, "-f"):
        if "apply" in words and path != "-" and "://" not in path:
            yield from _file(path)
    if "secret" in words and "create" in words:
        wanted = (next(_options(words, "-n"), "default"), words[words.index("generic") + 1])
        if wanted not in made_by_others():
            yield f"{'/'.join(wanted)}: a Secret that nobody asks for"
    places = {release.namespace for release in read("staging").releases.values()} | {"argocd"}
    for place in _options(words, "-n"):
        if place not in places:
            yield f"{place}: no namespace of ours"
    objects = {
        (one["kind"].lower(), one["metadata"]["name"])
        for release in read("staging").releases.values()
        for one in release.objects
    }
    for word in words:
        kind, slash, name = word.removeprefix("--from=").partition("/")
        if slash and kind in {"cronjob", "deployment", "svc"}:
            kind = "service" if kind == "svc" else kind
            if (kind, name) not in objects and name != "prometheus-operated":
                yield f"{word}: no chart makes it"


def _docker(words: list[str]) -> Iterator[str]:
    for path in _options(words, "-f", "--file"):
        yield from _file(path)
    for word in words:
        image = re.fullmatch(r"registry\.example\.com/inference-\w+/([\w-]+):.*", word)
        if image and image[1] not in repositories():
            yield f"{word}: Terraform makes no repository {image[1]}"


def _faultload(words: list[str]) -> Iterator[str]:
    yield from _helped([sys.executable, "-m", "faultload"], words[1:])


def _python(words: list[str]) -> Iterator[str]:
    if words[1] != "-m":
        yield from _file(words[1])
        return
    yield from _helped([sys.executable, "-m", words[2]], words[3:])


def _helped(program: list[str], words: list[str]) -> Iterator[str]:
    """Ask a program for help about these words, and look for each option in it."""
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    names: list[str] = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        names.append(word)
    done = subprocess.run(
        [*program, *names, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )
    if done.returncode != 0:
        yield f"{shlex.join([*program[1:], *words])}: {done.stderr.strip()}"
    for option in sorted(options):
        if done.returncode == 0 and option not in done.stdout:
            yield f"{shlex.join([*program[1:], *names])}: no option {option}"


def _make(words: list[str]) -> Iterator[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words[1:]:
        if "=" not in word and not re.search(rf"^{re.escape(word)}:", text, re.MULTILINE):
            yield f"make {word}: no such target"


def _copy(words: list[str]) -> Iterator[str]:
    yield from _file(words[1])


def _elsewhere(_: list[str]) -> Iterator[str]:
    """Only AWS, or the machine it runs on, knows."""
    yield from ()


_CHECKS: dict[str, Callable[[list[str]], Iterator[str]]] = {
    "terraform": _terraform,
    "helm": _helm,
    "kubectl": _kubectl,
    "docker": _docker,
    "faultload": _faultload,
    "python": _python,
    "make": _make,
    "cp": _copy,
    **dict.fromkeys(["aws", "openssl", "curl"], _elsewhere),
}
