"""One step of a graph, or many in one `session.run`.

The step exists twice: as the user built it, run when somebody wants to look at it, and
as the body of a `tf.while_loop` over the same variables and the same input iterator.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.framework import op_def_registry

from wafer_runtime.estimator.graph import ancestors
from wafer_runtime.estimator.hooks import check_finite

log = logging.getLogger("wafer_runtime")

# Stateful, but the same wherever they stand.
_COPYABLE = {"Assert", "EagerPyFunc", "PrintV2", "PyFunc", "PyFuncStateless", "NoOp"}


class Result(NamedTuple):
    """Where a run ended: the counter's value and the last step's loss."""

    step: int
    loss: float


class Steps:
    """`step_op` once or repeatedly; `counter` is an int64 variable it advances.

    With `stop_at_non_finite`, the loop ends after a step whose loss is not finite.
    """

    def __init__(
        self,
        step_op: tf.Operation,
        loss: tf.Tensor,
        counter: tf.Variable,
        stop_at_non_finite: bool,
    ):
        self.stop_at_non_finite = stop_at_non_finite
        self._counter = counter.read_value()
        dtype = tf.float64 if loss.dtype == tf.float64 else tf.float32
        self.loss = tf.cast(loss, dtype)
        with tf.control_dependencies([step_op]):
            self.counter_after = tf.identity(counter.read_value(), name="wafer_step")
        self._until = tf1.placeholder(tf.int64, [], "wafer_until")
        self._at_most = tf1.placeholder(tf.int64, [], "wafer_at_most")
        self._many = self._build_loop(counter)

    @property
    def can_loop(self) -> bool:
        """Whether many steps can run in one call."""
        return self._many is not None

    def run_one(self, session: Any) -> Result:
        """One step, seen by the session's hooks."""
        loss, step = session.run([self.loss, self.counter_after])
        return Result(int(step), float(loss))

    def run_many(self, session: Any, until: int, at_most: int) -> Result:
        """Steps until the counter reaches `until`, but `at_most` so many; no hooks.

        Raises NonFiniteLossError if it has to stop for that.
        """
        feed = {self._until: until, self._at_most: at_most}
        _, step, loss = run_unhooked(session, self._many, feed)
        result = Result(int(step), float(loss))
        if self.stop_at_non_finite:
            check_finite(*result)
        return result

    def read_counter(self, session: Any) -> int:
        """The counter's value, without a step."""
        return int(run_unhooked(session, self._counter))

    def _build_loop(self, counter: tf.Variable) -> Any:
        targets = [self.loss.op, self.counter_after.op]
        handles = [op.outputs[0] for op in ancestors(targets) if _makes_handle(op)]
        step_graph = _step_graph(targets, {handle.op.name for handle in handles})
        read = {name.removesuffix(":0") for n in step_graph.node for name in n.input}
        handles = [handle for handle in handles if handle.op.name in read]
        if obstacle := _obstacle(targets, step_graph):
            log.info("One step a session call: the step %s", obstacle)
            return None

        def keep_on(count: Any, step: Any, loss: Any) -> Any:
            more = tf.logical_and(step < self._until, count < self._at_most)
            if self.stop_at_non_finite:
                more = tf.logical_and(more, tf.math.is_finite(loss))
            return more

        def body(count: Any, step: Any, loss: Any) -> Any:
            capture = tf1.get_default_graph().capture
            loss, step = tf.graph_util.import_graph_def(
                step_graph,
                input_map={handle.name: capture(handle) for handle in handles},
                return_elements=[self.loss.name, self.counter_after.name],
                name="",
            )
            # The next iteration waits for the whole of this one through `count`.
            with tf.control_dependencies([step, loss]):
                return count + 1, step, loss

        zero = tf.zeros([], tf.int64)
        start = (zero, counter.read_value(), tf.zeros([], self.loss.dtype))
        return tf.while_loop(
            keep_on, body, start, parallel_iterations=1, name="wafer_loop"
        )


def run_unhooked(session: Any, fetches: Any, feed: Any = None) -> Any:
    """`session.run` that the hooks of a MonitoredSession do not see."""
    return session.run_step_fn(
        lambda step_context: step_context.session.run(fetches, feed)
    )


def _makes_handle(op: tf.Operation) -> bool:
    """Whether `op` makes a handle to state: a variable, an iterator, a table."""
    return not op.inputs and len(op.outputs) == 1 and op.outputs[0].dtype == tf.resource


def _step_graph(targets: list[tf.Operation], left_out: set[str]) -> Any:
    """What `targets` depend on as a GraphDef, without the operations `left_out`."""
    wanted = {op.name for op in ancestors(targets)} - left_out
    step_graph = tf1.get_default_graph().as_graph_def()
    nodes = [node for node in step_graph.node if node.name in wanted]
    waits_for_left_out = {f"^{name}" for name in left_out}
    for node in nodes:
        node.attr.pop("_class", None)  # colocation with operations left out
        node.input[:] = [i for i in node.input if i not in waits_for_left_out]
    del step_graph.node[:]
    step_graph.node.extend(nodes)
    return step_graph


def _obstacle(targets: list[tf.Operation], step_graph: Any) -> str | None:
    """Why these operations cannot run inside a loop, or None."""
    if not tf1.control_flow_v2_enabled():
        return "is built with control flow v2 disabled"
    for op in ancestors(targets):
        if any(t.dtype != t.dtype.base_dtype for t in op.outputs):
            return f'uses "{op.name}", a variable made with use_resource=False'
        if op.type.startswith("Mutable"):
            # TensorFlow takes a look-up for the same in every iteration.
            return f'uses "{op.name}", a table that changes'
        if op.type == "Placeholder":
            return f'needs the placeholder "{op.name}" fed'
    for node in _with_functions(step_graph):
        if _holds_state(node.op):
            return f'uses "{node.name}" ({node.op}), whose state cannot be shared'
    return None


def _with_functions(graph_def: Any) -> Iterator[Any]:
    """The nodes of a GraphDef and of the functions that they call."""
    library = {
        function.signature.name: function for function in graph_def.library.function
    }
    pending = [graph_def.node]
    done: set[str] = set()
    while pending:
        for node in pending.pop():
            yield node
            called = {node.op} | {a.func.name for a in node.attr.values()}
            called |= {f.name for a in node.attr.values() for f in a.list.func}
            for name in (called & library.keys()) - done:
                done.add(name)
                pending.append(library[name].node_def)


def _holds_state(op_type: str) -> bool:
    """Whether a kernel of this type keeps state inside itself, as random ones do."""
    op_def = op_def_registry.get(op_type)
    if op_def is None or not op_def.is_stateful or op_type in _COPYABLE:
        return False
    arguments = [*op_def.input_arg, *op_def.output_arg]
    shares_a_resource = any(a.type == tf.resource.as_datatype_enum for a in arguments)
    calls_a_function = any("func" in a.type for a in op_def.attr)
    return not shares_a_resource and not calls_a_function
