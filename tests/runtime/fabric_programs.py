"""Programs and layouts that tests of the fabric share."""

from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program


def program_of(name, write):
    program = Program(name)
    write(program, program.task(start=True))
    return program


def sender(color, x, **keywords):
    return program_of("sender", lambda _, t: t.mov(send(color), x, **keywords))


def receiver(color, x):
    return program_of("receiver", lambda _, t: t.mov(x, receive(color)))


def message(pes, wavelets, **config):
    """A layout in which PE 0 sends to the last of a row."""
    layout = Layout(pes, 1, FabricConfig(**config))
    x = layout.array("x", wavelets)
    layout.route(3, "R->E", x=0)
    layout.route(3, "W->E", x=slice(1, pes - 1))
    layout.route(3, "W->R", x=pes - 1)
    layout.place(sender(3, x), x=0)
    layout.place(receiver(3, x), x=pes - 1)
    return layout, x
