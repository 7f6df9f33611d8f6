"""Update rules: they run where their weights are, as part of the weights' kernel."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class UpdateRule:
    """An optimizer. states: numbers kept for each weight. named: a regex for the scope
    that it puts its operations in, without `Optimizer` and a number at its end; op: one
    for TensorFlow's operation of it."""

    name: str
    states: int
    layers: tuple[str, ...]
    named: str
    op: str = ""

    def is_scope(self, name: str) -> bool:
        """Whether a scope, such as `AdamW_1`, is one of its operations."""
        pattern = rf"({self.named})(_?optimizer)?(_\d+)?"
        return re.fullmatch(pattern, name, re.IGNORECASE) is not None


UPDATE_RULES = (
    UpdateRule("Nadam", 2, ("tf_keras.optimizers.legacy.Nadam",), named="nadam"),
    UpdateRule(
        "AdamW", 2, ("optimizer_type: adamw",), named=r"adam_?w|adam_?weight_?decay"
    ),
    UpdateRule("LAMB", 2, ("optimizer_type: lamb",), named="lamb"),
    UpdateRule("Adafactor", 1, ("an optimizer named Adafactor",), named="adafactor"),
    UpdateRule(
        "Adam",
        2,
        ("optimizer_type: adam", "tf.compat.v1.train.AdamOptimizer"),
        named="adam",
        op="ResourceApplyAdam(WithAmsgrad)?",
    ),
    UpdateRule(
        "Adamax",
        2,
        ("tf_keras.optimizers.legacy.Adamax",),
        named="adamax",
        op="ResourceApplyAdaMax",
    ),
    UpdateRule(
        "RMSProp",
        2,
        (
            "optimizer_type: rmsprop",
            "tf.compat.v1.train.RMSPropOptimizer (centered: a third state)",
        ),
        named="rms_?prop",
        op="ResourceApply(Centered)?RMSProp",
    ),
    UpdateRule(
        "Momentum",
        1,
        ("optimizer_type: momentum", "tf.compat.v1.train.MomentumOptimizer"),
        named="momentum",
        op="ResourceApply(Keras)?Momentum",
    ),
    UpdateRule(
        "Adagrad",
        1,
        ("tf.compat.v1.train.AdagradOptimizer",),
        named="adagrad",
        op="ResourceApplyAdagrad(V2)?",
    ),
    UpdateRule(
        "Adadelta",
        2,
        ("tf.compat.v1.train.AdadeltaOptimizer",),
        named="adadelta",
        op="ResourceApplyAdadelta",
    ),
    UpdateRule(
        "SGD",
        0,
        ("optimizer_type: sgd", "tf.compat.v1.train.GradientDescentOptimizer"),
        named="sgd|gradient_?descent",
        op="ResourceApplyGradientDescent",
    ),
)


def rule_of(op_type: str, op_name: str) -> str:
    """The name of the update rule that an updating operation belongs to."""
    # An optimizer's own scope comes first, and the weight's name after `update_`.
    scope, is_update, _ = op_name.partition("/update_")
    parts = scope.split("/")[-1:] if is_update else scope.split("/")
    dense = f"Resource{op_type.removeprefix('Resource').replace('Sparse', '')}"
    named = [rule for rule in UPDATE_RULES if any(map(rule.is_scope, parts))]
    # Rules with an operation of their own are also parts of others: AdamW's of Adam's.
    written_out = [rule for rule in named if not rule.op]
    by_op = [rule for rule in UPDATE_RULES if rule.op and re.fullmatch(rule.op, dense)]
    return next((rule.name for rule in written_out + by_op + named), "assignment")
