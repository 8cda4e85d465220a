"""Results as Markdown."""

from dataclasses import dataclass, field
from statistics import median


@dataclass
class Table:
    title: str
    columns: list
    rows: list = field(default_factory=list)
    note: str = ""

    def add(self, *cells):
        self.rows.append([str(cell) for cell in cells])

    def __str__(self):
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(part for part in (f"**{self.title}**", table, self.note) if part)


def spread(values, digits=1):
    """The median, and the lowest and highest in brackets."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def ratio(values, base):
    """Of each to that of the same round, so that what disturbed a whole round cancels out."""
    return spread([value / other for value, other in zip(values, base)], 2)
