"""What the cluster's answers mean, from a server that gives them."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from kubernetes import client

from inference_autotuner.optimizer.errors import AutotunerError, StudyError
from inference_autotuner.workflows.cluster import (
    AlreadyExistsError,
    Cluster,
    ClusterUnavailableError,
    InvalidObjectError,
)


@dataclass
class Api:
    """A server that answers as it is told, and remembers what it was asked."""

    port: int = 0
    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.port}")
        return Cluster(client.ApiClient(configuration), "tuning")


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.asked.append((self.command, self.path, json.loads(body) if body else None))
            status, said = found.answers.pop(0)
            content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *words: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_what_is_not_there_is_none(api: Api) -> None:
    api.answers = [(404, {"message": "not found"})]
    assert api.cluster.get("Pod", "a", "tuning") is None
    assert api.asked == [("GET", "/api/v1/namespaces/tuning/pods/a", None)]


def test_long_lists_come_in_pages(api: Api) -> None:
    api.answers = [
        (200, {"items": [{"a": 1}], "metadata": {"continue": "next"}}),
        (200, {"items": [{"a": 2}], "metadata": {}}),
    ]
    assert api.cluster.list("Pod", "tuning", {"x": "y"}) == [{"a": 1}, {"a": 2}]
    assert "labelSelector=x%3Dy" in api.asked[1][1]
    assert "continue=next" in api.asked[1][1]


def test_a_kind_that_the_cluster_does_not_know_has_no_objects(api: Api) -> None:
    api.answers = [(404, "404 page not found")]
    assert api.cluster.list("InferenceService", "tuning") == []


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_cluster_that_is_busy_is_asked_again_later(api: Api, status: int) -> None:
    api.answers = [(status, {"message": "busy"})]
    with pytest.raises(ClusterUnavailableError, match="busy") as caught:
        api.cluster.get("Pod", "a", "tuning")
    assert caught.value.exit_code == 75


def test_a_cluster_that_is_away_is_unavailable() -> None:
    configuration = client.Configuration(host="http://127.0.0.1:1")
    with pytest.raises(ClusterUnavailableError, match="does not answer"):
        Cluster(client.ApiClient(configuration), "tuning").version()


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (409, "already exists", AlreadyExistsError),
        (422, "spec.x: Invalid value", InvalidObjectError),
        (400, "strict decoding error", InvalidObjectError),
        (403, 'admission webhook "isvc" denied the request: no model', InvalidObjectError),
        (403, 'User "a" cannot create resource "pods"', StudyError),
        (401, "Unauthorized", StudyError),
    ],
)
def test_refusals_are_told_apart(
    api: Api, status: int, message: str, error: type[AutotunerError]
) -> None:
    api.answers = [(status, {"message": message})]
    manifest = {"kind": "Pod", "metadata": {"name": "a", "namespace": "tuning"}}
    with pytest.raises(error) as caught:
        api.cluster.create(manifest)
    assert message in str(caught.value)


def test_an_object_is_deleted_only_if_it_is_still_the_same(api: Api) -> None:
    api.answers = [(409, {"message": "the UID in the precondition does not match"})]
    api.cluster.delete("Pod", "a", "tuning", uid="u1")
    assert api.asked[0][2]["preconditions"] == {"uid": "u1"}


def test_a_log_that_is_not_there_yet_is_empty(api: Api) -> None:
    api.answers = [(400, {"message": "container is waiting to start"}), (200, "a\nb\n")]
    assert api.cluster.pod_log("a", "tuning", "engine") == ""
    assert api.cluster.pod_log("a", "tuning", "engine", is_previous=True) == "a\nb\n"
    assert "previous=true" in api.asked[1][1]


def test_a_log_that_was_cleared_away_is_empty(api: Api) -> None:
    api.answers = [(200, "unable to retrieve container logs for containerd://c9ba")]
    assert api.cluster.pod_log("a", "tuning", "engine", is_previous=True) == ""


def test_a_log_is_followed_line_by_line(api: Api) -> None:
    api.answers = [(200, "one\ntwo\nhalf")]
    assert list(api.cluster.follow_log("a", "tuning")) == ["one", "two", "half"]


def test_rights_are_asked_for(api: Api) -> None:
    api.answers = [(201, {"status": {"allowed": True}}), (201, {"status": {}})]
    assert api.cluster.can("list", "InferenceService", "tuning")
    assert not api.cluster.can("list", "Node")
    asked = api.asked[0][2]["spec"]["resourceAttributes"]
    assert (asked["group"], asked["resource"]) == ("ome.io", "inferenceservices")


def test_the_version_is_the_servers(api: Api) -> None:
    api.answers = [(200, {"gitVersion": "v1.34.4"})]
    assert api.cluster.version() == "1.34.4"
