"""Quantities as people read them."""


def bytes_text(count: float) -> str:
    """Four digits and a unit, such as 1.497 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:,.4g} GiB"
