"""The wafer from above: a rectangle for each kernel, as SVG or PNG."""

import io
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from wafer_runtime.compiler.plan import PlacedKernel, Plan
from wafer_runtime.report.picture import colour_of
from wafer_runtime.units import count_text

_WIDTH = 1000  # pixels of the fabric
_HEAD = 30
_LEAST_TEXT = 7  # pixels; smaller names are left out


class _Box(NamedTuple):
    """A rectangle in pixels from the upper left corner."""

    kernel: PlacedKernel
    x: float
    y: float
    width: float
    height: float

    @property
    def text_size(self) -> float:
        """At which the name fits, along the longer side."""
        longer, shorter = sorted((self.width, self.height), reverse=True)
        return min(14.0, 0.8 * shorter, 1.6 * longer / len(self.kernel.name))


def svg(plan: Plan) -> str:
    """A picture whose rectangles tell their kernel's figures as tooltips."""
    height = _HEAD + _WIDTH * plan.fabric_height / plan.fabric_width
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} '
            f'{height:.0f}" width="{_WIDTH}" height="{height:.0f}" '
            'font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="4" y="20" font-size="14">{escape(title(plan))}</text>',
            f'<rect y="{_HEAD}" width="{_WIDTH}" height="{height - _HEAD:.0f}" '
            'fill="#f4f4f4" stroke="#555"/>',
            *(_rectangle(box) for box in _boxes(plan)),
            "</svg>\n",
        ]
    )


def title(plan: Plan) -> str:
    """The plan in a line."""
    rate = plan.samples_per_s(plan.delta_t_cycles)
    return (
        f"{plan.system}: {count_text(len(plan.kernels), 'kernel')}"
        + (f" x {plan.replicas} replicas" if plan.replicas > 1 else "")
        + f", {plan.total_utilization:.1%} of the PEs, delta_t "
        f"{plan.delta_t_cycles:,} cycles, {rate:,.0f} samples/s"
    )


def png(plan: Plan) -> bytes:
    """The same picture as the content of a PNG file."""
    from PIL import Image, ImageDraw, ImageFont

    height = int(_HEAD + _WIDTH * plan.fabric_height / plan.fabric_width)
    image = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(image)
    draw.text((4, 8), title(plan), "black", ImageFont.load_default(14))
    draw.rectangle((0, _HEAD, _WIDTH - 1, height - 1), "#f4f4f4", "#555")
    for box in _boxes(plan):
        corner = (box.x + box.width, box.y + box.height)
        draw.rectangle((box.x, box.y, *corner), colour_of(box.kernel.kind), "#555")
        if box.text_size >= _LEAST_TEXT and box.width >= box.height:
            middle = (box.x + box.width / 2, box.y + box.height / 2)
            font = ImageFont.load_default(box.text_size)
            draw.text(middle, box.kernel.name, "black", font, anchor="mm")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _boxes(plan: Plan) -> Iterator[_Box]:
    """y grows upwards on the fabric."""
    scale = _WIDTH / plan.fabric_width
    for replica in range(plan.replicas):
        for kernel in plan.kernels:
            y = kernel.y + replica * plan.replica_height
            top = plan.fabric_height - y - kernel.height
            yield _Box(
                kernel,
                kernel.x * scale,
                _HEAD + top * scale,
                kernel.width * scale,
                kernel.height * scale,
            )


def _rectangle(box: _Box) -> str:
    kernel = box.kernel
    facts = (
        f"{kernel.name} ({kernel.kind})",
        f"{kernel.width} x {kernel.height} PEs at ({kernel.x}, {kernel.y})",
        f"h {kernel.h}, w {kernel.w}, c {kernel.c}, k {kernel.k}",
        f"compute {kernel.compute_cycles:,}, transfer {kernel.transfer_cycles:,} "
        "cycles a sample",
        f"{kernel.memory_bytes:,} bytes in the fullest PE",
    )
    x, y = box.x + box.width / 2, box.y + box.height / 2
    turn = "" if box.width >= box.height else f' transform="rotate(90 {x:.1f} {y:.1f})"'
    name = (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{box.text_size:.1f}" '
        f'text-anchor="middle" dominant-baseline="central"{turn}>'
        f"{escape(kernel.name)}</text>"
    )
    return (
        f"<g><title>{escape(chr(10).join(facts))}</title>"
        f'<rect x="{box.x:.2f}" y="{box.y:.2f}" width="{box.width:.2f}" '
        f'height="{box.height:.2f}" fill="{colour_of(kernel.kind)}" stroke="#555" '
        f'stroke-width="0.5"/>{name if box.text_size >= _LEAST_TEXT else ""}</g>'
    )
