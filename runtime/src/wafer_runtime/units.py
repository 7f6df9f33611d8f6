"""Quantities as people read them."""


def bytes_text(count: float) -> str:
    """Four digits and a unit, such as 1.497 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:,.4g} GiB"


def count_text(count: int, what: str) -> str:
    """Such as 1 kernel, or 1,024 kernels."""
    return f"{count:,} {what}" + "s" * (count != 1)
