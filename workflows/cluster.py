"""The Kubernetes API in our words: the only place that knows the `kubernetes` library.

Objects are plain dictionaries, what is not there is None, and every request has a deadline.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from inference_autotuner.optimizer.errors import AutotunerError, NotReadyError, StudyError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Manifest = dict[str, Any]
Manifests = list[Manifest]  # inside `Cluster` the word `list` is its method
_CONNECT_S = 10.0
_READ_S = 30.0
# An engine may be silent for long; a connection that nobody holds any more must end all the same.
_SILENCE_S = 600.0
# What a kubelet answers, as if it were a log, for a container that it has cleared away.
_NO_LOG = "unable to retrieve container logs for "
_PAGE = 500
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterUnavailableError(NotReadyError):
    """The cluster does not answer."""


class AlreadyExistsError(AutotunerError):
    """There is an object of this name already."""


class InvalidObjectError(AutotunerError):
    """The cluster refuses an object as it is."""


@dataclass(frozen=True)
class Kind:
    """Where objects of a kind are in the API."""

    path: str
    plural: str
    is_namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.path.split("/")[1] if self.path.startswith("apis/") else ""


_CORE, _APPS, _BATCH = "api/v1", "apis/apps/v1", "apis/batch/v1"
_ARGO, _OME = "apis/argoproj.io/v1alpha1", "apis/ome.io/v1beta1"
KINDS: Mapping[str, Kind] = {
    "Pod": Kind(_CORE, "pods"),
    "Service": Kind(_CORE, "services"),
    "ConfigMap": Kind(_CORE, "configmaps"),
    "Secret": Kind(_CORE, "secrets"),
    "Event": Kind(_CORE, "events"),
    "ServiceAccount": Kind(_CORE, "serviceaccounts"),
    "ResourceQuota": Kind(_CORE, "resourcequotas"),
    "Namespace": Kind(_CORE, "namespaces", is_namespaced=False),
    "Node": Kind(_CORE, "nodes", is_namespaced=False),
    "Deployment": Kind(_APPS, "deployments"),
    "Job": Kind(_BATCH, "jobs"),
    "Workflow": Kind(_ARGO, "workflows"),
    "CronWorkflow": Kind(_ARGO, "cronworkflows"),
    "InferenceService": Kind(_OME, "inferenceservices"),
    "ServingRuntime": Kind(_OME, "servingruntimes"),
    "BaseModel": Kind(_OME, "basemodels"),
    "ClusterServingRuntime": Kind(_OME, "clusterservingruntimes", is_namespaced=False),
    "ClusterBaseModel": Kind(_OME, "clusterbasemodels", is_namespaced=False),
    "AcceleratorClass": Kind(_OME, "acceleratorclasses", is_namespaced=False),
    "CustomResourceDefinition": Kind(
        "apis/apiextensions.k8s.io/v1", "customresourcedefinitions", is_namespaced=False
    ),
}


class Cluster:
    """A cluster, with the rights of whoever connected.

    Every method raises:
        ClusterUnavailableError: It does not answer, or asks for patience.
        StudyError: A right is missing.
    """

    def __init__(self, api: "ApiClient", namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    @classmethod
    def connect(cls) -> "Cluster":
        """The cluster that this pod is in, else that of `KUBECONFIG`.

        Raises:
            ClusterUnavailableError: Neither is there.
        """
        import urllib3
        from kubernetes import client

        # Whoever wrote a KUBECONFIG without a certificate knows; kubectl does not repeat it either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        namespace = _load_incluster() or _load_kubeconfig()
        return cls(client.ApiClient(), namespace)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """One object, or None."""
        found, status = self._call("GET", _path(kind, namespace, name), allowed=(404,))
        return None if status == 404 else found

    def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Manifests:
        """Objects of a kind, of one namespace or of all; none where the kind is not known."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        return self._list(kind, namespace, {"labelSelector": selector} if selector else {})

    def events(self, namespace: str, kind: str, name: str) -> Manifests:
        """What was said about an object."""
        fields = f"involvedObject.kind={kind},involvedObject.name={name}"
        return self._list("Event", namespace, {"fieldSelector": fields})

    def _list(self, kind: str, namespace: str | None, query: dict[str, str]) -> Manifests:
        items: Manifests = []
        query = {"limit": str(_PAGE), **query}
        while True:
            page, status = self._call("GET", _path(kind, namespace), query=query, allowed=(404,))
            if status == 404:
                return items
            items += page.get("items") or []
            query["continue"] = page.get("metadata", {}).get("continue") or ""
            if not query["continue"]:
                return items

    def create(self, manifest: Mapping[str, Any]) -> Manifest:
        """Creates an object; returns it as it is stored.

        Raises:
            AlreadyExistsError: There is one of this name.
            InvalidObjectError: The cluster refuses it.
        """
        namespace = manifest["metadata"].get("namespace")
        path = _path(manifest["kind"], namespace)
        made, _ = self._call("POST", path, body=dict(manifest))
        return made

    def merge_patch(
        self, kind: str, name: str, namespace: str | None, patch: Mapping[str, Any]
    ) -> Manifest:
        """Changes some fields of an object."""
        path = _path(kind, namespace, name)
        changed, _ = self._call("PATCH", path, body=dict(patch))
        return changed

    def delete(
        self, kind: str, name: str, namespace: str | None = None, uid: str | None = None
    ) -> None:
        """Deletes an object, if it is still the one with `uid`; its dependents follow."""
        body: Manifest = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        self._call("DELETE", _path(kind, namespace, name), body=body, allowed=(404, 409))

    def pod_log(
        self,
        name: str,
        namespace: str,
        container: str | None = None,
        *,
        is_previous: bool = False,
        limit: int = 1 << 20,
        since: str | None = None,
    ) -> str:
        """The end of a container's log; empty when there is none.

        Args:
            name: Name of the pod.
            namespace: Its namespace.
            container: The container; None where there is one alone.
            is_previous: The log of the run before the last start.
            limit: Characters at the most.
            since: RFC 3339 time of the first line; lines then begin with theirs.
        """
        query = {"tailLines": "2000"} | ({"container": container} if container else {})
        if is_previous:
            query["previous"] = "true"
        if since:
            query |= {"sinceTime": since, "timestamps": "true"}
        path = _path("Pod", namespace, name) + "/log"
        response, status = self._send("GET", path, query=query, allowed=(400, 404))
        if status != 200:
            return ""
        text = b"".join(_read(path, response)).decode(errors="replace")
        return "" if text.startswith(_NO_LOG) else text[-limit:]

    def follow_log(self, name: str, namespace: str, container: str | None = None) -> Iterator[str]:
        """Lines of a container's log, until it ends."""
        query = {"follow": "true"} | ({"container": container} if container else {})
        path = _path("Pod", namespace, name) + "/log"
        response, status = self._send(
            "GET", path, query=query, allowed=(400, 404), silence_s=_SILENCE_S
        )
        if status != 200:
            return
        rest = b""
        for chunk in _read(path, response):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def can(
        self, verb: str, kind: str, namespace: str | None = None, subresource: str = ""
    ) -> bool:
        """Whether whoever connected may do something."""
        of = KINDS[kind]
        attributes = {
            "verb": verb,
            "group": of.group,
            "resource": of.plural,
            "subresource": subresource,
            "namespace": namespace or "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer, _ = self._call("POST", path, body=review)
        return bool(answer["status"].get("allowed"))

    def has(self, kind: str) -> bool:
        """Whether the cluster knows a kind."""
        found, status = self._call("GET", f"/{KINDS[kind].path}", allowed=(404,))
        names = {each["name"] for each in found.get("resources", ())} if status == 200 else set()
        return KINDS[kind].plural in names

    def version(self) -> str:
        """Kubernetes' version, such as `1.34.4`."""
        found, _ = self._call("GET", "/version")
        return str(found["gitVersion"]).lstrip("v")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        allowed: tuple[int, ...] = (),
    ) -> tuple[Manifest, int]:
        response, status = self._send(method, path, query=query, body=body, allowed=allowed)
        content = b"".join(_read(f"{method} {path}", response))
        return json.loads(content) if status < 300 else {}, status

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        allowed: tuple[int, ...] = (),
        silence_s: float = _READ_S,
    ) -> tuple[Any, int]:
        import urllib3
        from kubernetes.client import ApiException

        call = f"{method} {path}"
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": _CONTENT_TYPES.get(method, "application/json")}
        headers |= {"Accept": "*/*" if path.endswith("/log") else "application/json"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            response = self._api.rest_client.pool_manager.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body),
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=silence_s),
                preload_content=False,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise ClusterUnavailableError(
                f"the cluster does not answer ({call}): {error}"
            ) from error
        if response.status < 300 or response.status in allowed:
            return response, response.status
        text = b"".join(_read(call, response)).decode(errors="replace")
        raise _refusal(call, response.status, text)


def _read(call: str, response: Any) -> Iterator[bytes]:
    """The body of an answer, as it comes."""
    import urllib3

    try:
        yield from response.stream(4096)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ClusterUnavailableError(
            f"the cluster's answer broke off ({call}): {error}"
        ) from error
    finally:
        response.release_conn()


_CONTENT_TYPES = {"PATCH": "application/merge-patch+json"}


def _load_incluster() -> str | None:
    """The namespace of this pod; None outside of a cluster."""
    from kubernetes import config

    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
        return _OWN_NAMESPACE.read_text("utf-8").strip()
    except (config.ConfigException, OSError):
        return None


def _load_kubeconfig() -> str:
    from kubernetes import config

    try:
        config.load_kube_config()  # type: ignore[no-untyped-call]
        _, active = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise ClusterUnavailableError(
            f"no cluster: {error}. Name its configuration in KUBECONFIG"
        ) from error
    return str(active["context"].get("namespace") or "default")


def _path(kind: str, namespace: str | None = None, name: str | None = None) -> str:
    of = KINDS[kind]
    parts = [of.path]
    if of.is_namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts += [of.plural, *([quote(name, safe="")] if name else [])]
    return "/" + "/".join(parts)


def _refusal(call: str, status: int, text: str) -> AutotunerError:
    try:
        message = json.loads(text).get("message") or text
    except ValueError:
        message = text
    if status == 409:
        return AlreadyExistsError(message)
    # A webhook that refuses an object answers like a missing right.
    if status == 403 and "admission webhook" in message:
        return InvalidObjectError(f"the cluster refuses {call}: {message}")
    if status in (401, 403):
        return StudyError(
            f"the cluster refuses {call}: {message}. Which rights are needed, and how to give "
            "them, is in docs/kubernetes.md"
        )
    if status == 429 or status >= 500:
        return ClusterUnavailableError(f"the cluster does not answer ({call}): {message}")
    return InvalidObjectError(f"the cluster refuses {call}: {message}")
