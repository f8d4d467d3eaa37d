"""Signing in to a cluster as a kubeconfig says: one named context, never the current one."""

from __future__ import annotations

import ipaddress
import os
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from kubernetes import client
from kubernetes.config import ConfigException, load_kube_config
from kubernetes.config.kube_config import KubeConfigMerger

from faultload.errors import MissingError, SpecError, nearest
from faultload.spec.target import KubernetesCluster
from faultload.targets.files import named_file

_KEY = "kubernetes.kubeconfig"


def kubeconfig_of(spec: KubernetesCluster, path: Path) -> str:
    """Return the absolute path of the kubeconfig, or several as KUBECONFIG has them.

    That of the target file (relative to it), else KUBECONFIG, else the user's own.

    Raises:
        SpecError: the file that the target names is not there.
        MissingError: none of the others is.
    """
    if spec.kubeconfig:
        return str(named_file(path, _KEY, spec.kubeconfig))
    default = str(Path.home() / ".kube" / "config")
    given = os.environ.get("KUBECONFIG") or default
    files = [Path(word).expanduser().absolute() for word in given.split(os.pathsep) if word]
    if not any(file.is_file() for file in files):
        raise MissingError(
            f"no kubeconfig: expected one at {given}; set KUBECONFIG, or {_KEY} in {path}"
        )
    return os.pathsep.join(map(str, files))


def sign_in(kubeconfig: str, context: str, path: Path) -> client.ApiClient:
    """Return a client for one context of a kubeconfig; nothing is sent yet.

    Args:
        kubeconfig: as `kubeconfig_of` returns it.
        context: its name.
        path: of the target file, for errors.

    Raises:
        SpecError: there is no such context; names those that there are.
        MissingError: the kubeconfig cannot be read or used.
    """
    known = _contexts(kubeconfig)
    if context not in known:
        found = f"found {', '.join(sorted(known)) or 'none'} in {kubeconfig}"
        problem = f"no context named {context!r}{nearest(context, known)}; {found}"
        raise SpecError(path, "kubernetes.context", problem)
    configuration = client.Configuration()
    try:
        load_kube_config(
            config_file=kubeconfig,
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
    except ConfigException as error:
        raise _unusable(kubeconfig, f"context {context!r} cannot be used: {error}") from None
    except (OSError, TypeError, ValueError, AttributeError) as error:
        problem = f"context {context!r} cannot be used: {type(error).__name__}"
        raise _unusable(kubeconfig, problem) from None
    configuration.retries = False  # `Api` repeats calls, and knows which and for how long
    if _is_loopback(configuration.host):
        configuration.proxy = None  # a proxy must not see loopback calls
    signed_in = client.ApiClient(configuration)
    signed_in.user_agent = f"faultload/{version('faultload')}"
    return signed_in


def _contexts(kubeconfig: str) -> list[str]:
    try:
        # Not `list_kube_config_contexts`, which wants a current context.
        merged = KubeConfigMerger(kubeconfig).config
        contexts = merged.safe_get("contexts") if merged is not None else []
        return [context["name"] for context in contexts or []]
    except (ConfigException, TypeError, KeyError, AttributeError) as error:
        raise _unusable(kubeconfig, f"not a kubeconfig: {error}") from None
    except (OSError, yaml.YAMLError) as error:
        # A YAML error quotes the line it is in, which may hold a token.
        raise _unusable(kubeconfig, f"cannot be read: {type(error).__name__}") from None


def _unusable(kubeconfig: str, problem: str) -> MissingError:
    # The client names a part of the file by its content, which may hold a token.
    return MissingError(f"{kubeconfig}: {problem.partition('{')[0].rstrip(' /')}")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
