"""Chemical formulas, as written, in one spelling."""

import math
import re
from collections.abc import Iterable

_NUMBER = r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)?)"
# An element and its amount, an opening or closing bracket and its factor, or neither.
_FORMULA = re.compile(rf"([A-Z][a-z]?){_NUMBER}|([(\[])|([)\]]){_NUMBER}|([^\s])")


def reduce_formula(text: str) -> str:
    """Write a formula with the smallest whole numbers, elements by the alphabet.

    Amounts that are not whole become shares of all atoms, in thousandths. A text that
    is no formula stays as it is: it is shared by those who write it alike.

    Example:
        >>> reduce_formula("Ti2 O4"), reduce_formula("O2Ti"), reduce_formula("Ca(OH)2")
        ('O2Ti', 'O2Ti', 'CaH2O2')
    """
    amounts = _count_elements(text)
    if amounts is None:
        return text.strip()
    if all(value == round(value) for value in amounts.values()):
        divisor = math.gcd(*(round(value) for value in amounts.values()))
        whole = {name: round(value) // divisor for name, value in amounts.items()}
    else:
        total = sum(amounts.values())
        whole = {name: round(1000 * v / total) for name, v in amounts.items()}
    return "".join(f"{n}{whole[n] if whole[n] != 1 else ''}" for n in sorted(whole))


def _count_elements(text: str) -> dict[str, float] | None:
    """Count the atoms of each element; None if the text is no formula."""
    stack: list[dict[str, float]] = [{}]
    for element, amount, opening, closing, times, other in _FORMULA.findall(text):
        if other or (closing and len(stack) == 1):
            return None
        if opening:
            stack.append({})
        elif closing:
            group = stack.pop()
            for name, value in group.items():
                scaled = value * float(times or 1)
                stack[-1][name] = stack[-1].get(name, 0.0) + scaled
        else:
            stack[-1][element] = stack[-1].get(element, 0.0) + float(amount or 1)
    sound = len(stack) == 1 and stack[0] and min(stack[0].values()) > 0.0
    return stack[0] if sound else None


def reduce_formulas(texts: Iterable[str]) -> set[str]:
    """Write formulas with the smallest whole numbers, each once."""
    return {reduce_formula(text) for text in set(texts)}
