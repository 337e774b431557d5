"""Asks a server on a cluster for one real completion: what "ready" means for a trial."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

_PROMPTS: Mapping[str, Mapping[str, Any]] = {
    "/v1/completions": {"prompt": "Hello"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
}
_HEALTH_S = 5.0
# Kernels may be compiled in the first one.
_COMPLETION_S = 120.0
# Servers are on the cluster's own network, whatever proxy this pod goes out through.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def completes(url: str, health_path: str, served_name: str) -> str | None:
    """None when the server is well and completes a request; else what it did instead.

    Args:
        url: Base address.
        health_path: Where a GET answers 200.
        served_name: The model name in requests.
    """
    if (said := _refused(url + health_path, None, _HEALTH_S)) is not None:
        return said
    for path, prompt in _PROMPTS.items():
        body = {"model": served_name, "max_tokens": 2, **prompt}
        said = _refused(url + path, body, _COMPLETION_S)
        if said is None:
            return None
    return said


def first_model(url: str) -> str | None:
    """The name under which a server serves, as it says itself."""
    found = read_json(f"{url}/v1/models") or {}
    names = [each.get("id") for each in found.get("data", ())]
    return names[0] if names else None


def read_json(url: str) -> Any:
    """What a GET answers; None when it answers nothing useful in time."""
    try:
        with _OPENER.open(url, timeout=_HEALTH_S) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def _refused(url: str, body: Any, timeout_s: float) -> str | None:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers)
    path = url.partition("//")[2].partition("/")[2]
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            answer.read()
            return None
    except urllib.error.HTTPError as error:
        return f"/{path} answers {error.code}: {error.read(200).decode(errors='replace')}"
    except OSError as error:
        return f"/{path}: {error}"
