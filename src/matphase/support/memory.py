"""Amounts of memory as text."""

_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def amount_text(amount: int) -> str:
    """Amount in bytes as text such as `1.5GB`, rounded up to two digits."""
    digits = 10 ** max(0, len(str(amount)) - 2)
    rounded = -(-amount // digits) * digits
    unit, size = next((pair for pair in _UNITS if rounded >= pair[1]), _UNITS[-1])
    return f"{rounded / size:g}{unit}"
