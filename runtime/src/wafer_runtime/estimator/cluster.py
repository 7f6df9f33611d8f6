"""TF_CONFIG: which process of a cluster this one is."""

import json
import os
from typing import Any, NamedTuple

import tensorflow as tf

from wafer_runtime.errors import UsageError

_CHIEFS = ("chief", "master")
_FORM = (
    'TF_CONFIG should be {"cluster": {"chief": [ADDRESS], "worker": [...], ...}, '
    '"task": {"type": "chief", "index": 0}}'
)


class Task(NamedTuple):
    """This process, as RunConfig tells it, and the model_dir that TF_CONFIG gives."""

    cluster_spec: Any
    task_type: str = "worker"
    task_id: int = 0
    is_chief: bool = True
    master: str = ""
    evaluation_master: str = ""
    num_ps_replicas: int = 0
    num_worker_replicas: int = 1
    global_id_in_cluster: int | None = 0
    service: dict[str, Any] | None = None
    model_dir: str | None = None


def task_from_environment() -> Task:
    """What TF_CONFIG says; a process of its own when it is not set.

    Raises UsageError for JSON that is none, and for a task that is not in the cluster.
    """
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"TF_CONFIG is not valid JSON ({error}): {text}") from None
    try:
        return _task(content)._replace(
            service=_mapping(content, "service") or None,
            model_dir=content.get("model_dir"),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UsageError(f"{_FORM}: {reason}: {text}") from None


def _task(content: dict[str, Any]) -> Task:
    cluster = tf.train.ClusterSpec(_mapping(content, "cluster"))
    task = _mapping(content, "task")
    if not cluster:
        alone = (task.get("type", "worker"), int(task.get("index", 0)))
        if alone != ("worker", 0):
            raise ValueError(f"{alone[0]} {alone[1]} has no cluster")
        return Task(
            cluster,
            master=content.get("session_master", ""),
            evaluation_master=content.get("eval_session_master", ""),
        )
    chief = _chief_of(cluster)
    kind, index = task["type"], int(task["index"])
    if kind == "evaluator" and chief == "chief" and index >= 0:
        evaluation = content.get("eval_session_master", "")
        return Task(
            tf.train.ClusterSpec({}), kind, index, False, "", evaluation, 0, 0, None
        )
    if kind not in cluster.jobs or not 0 <= index < cluster.num_tasks(kind):
        raise ValueError(f"{kind} {index} is not in the cluster")
    order = [chief, *sorted(set(cluster.jobs) - {chief, "ps"}), "ps"]
    before = [job for job in order[: order.index(kind)] if job in cluster.jobs]
    return Task(
        cluster_spec=cluster,
        task_type=kind,
        task_id=index,
        is_chief=kind == chief,
        master=content.get("session_master", _address(cluster, kind, index)),
        num_ps_replicas=len(cluster.as_dict().get("ps", [])),
        num_worker_replicas=1 + len(cluster.as_dict().get("worker", [])),
        global_id_in_cluster=index + sum(map(cluster.num_tasks, before)),
    )


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise TypeError(f'"{key}" is {value!r}')
    return value


def _chief_of(cluster: Any) -> str:
    chiefs = [job for job in _CHIEFS if job in cluster.jobs]
    if len(chiefs) != 1 or cluster.num_tasks(chiefs[0]) != 1:
        raise ValueError('a cluster has one "chief" (or one "master")')
    return chiefs[0]


def _address(cluster: Any, kind: str, index: int) -> str:
    alone = sum(map(cluster.num_tasks, cluster.jobs)) == 1
    return "" if alone else f"grpc://{cluster.task_address(kind, index)}"
