"""The report as one HTML page that needs nothing but the pictures beside it."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from head_detection.data.quality.findings import KINDS, Finding
from head_detection.data.quality.report import HealthReport
from head_detection.data.quality.statistics import spread

MAX_ROWS: Final = 50
"""Of a kind on the page; report.json has all."""
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem;
       color: #1d2329; background: #fff; }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; margin: .6rem 0 }
th, td { border-bottom: 1px solid #d9dee3; padding: .25rem .8rem; text-align: left;
         overflow-wrap: anywhere; vertical-align: top }
td.number, th.number { text-align: right; white-space: nowrap }
img { max-width: 100%; border: 1px solid #d9dee3 }
pre { background: #f2f4f6; padding: .8rem; overflow-x: auto }
.well { color: #1a7f37 } .ill { color: #b42318 } .quiet { color: #5b6670 }
summary { cursor: pointer }
"""


def render_page(report: HealthReport, pictures: Mapping[str, tuple[str, str]]) -> str:
    """Return the HTML.

    Args:
        report: what to tell.
        pictures: heading to file name beside the page and what it shows, in order.
    """
    well = '<p class="well">Healthy: nothing to look at.</p>'
    ill = '<p class="ill">There is something to look at.</p>'
    parts = [
        "<h1>Health of the data</h1>",
        well if report.is_healthy else ill,
        _counts(report),
        "<h2>Sets</h2>",
        _sets(report),
        _lines("Remarks", report.remarks),
        "<h2>For the experiment file</h2>",
        f"<pre>{escape(report.suggestion)}</pre>",
    ]
    for heading, (file_name, legend) in pictures.items():
        source = escape(file_name, quote=True)
        parts.append(f"<h2>{escape(heading)}</h2><p class='quiet'>{escape(legend)}</p>")
        parts.append(f'<a href="{source}"><img src="{source}" alt="{escape(heading)}"></a>')
    parts.extend(_findings(kind, report) for kind in report.counts)
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Health of the data</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _counts(report: HealthReport) -> str:
    rows = [
        (KINDS[kind], str(count), "accepted" if kind in report.accepted else "")
        for kind, count in report.counts.items()
    ]
    return _table(("found", "count", ""), rows, numbers={1}) if rows else ""


def _sets(report: HealthReport) -> str:
    rows = []
    for group, measured in zip(report.sets, report.statistics, strict=True):
        heads, sizes = spread(measured.heads_per_image), spread(measured.head_sizes)
        rows.append(
            (
                group.name,
                f"{len(group):,}",
                f"{int(measured.heads_per_image.sum()):,}",
                f"{measured.num_ignored:,}",
                f"{int((measured.heads_per_image == 0).sum()):,}",
                _range(heads),
                _range(sizes),
            )
        )
    header = (
        "set", "pictures", "heads", "ignored", "without heads",
        "heads a picture: min, median, max", "head size in pixels: min, median, max",
    )  # fmt: skip
    notes = [f"{group.name}: {note}" for group in report.sets for note in group.notes]
    return _table(header, rows, numbers={1, 2, 3, 4, 5, 6}) + _lines("Notes of the reader", notes)


def _findings(kind: str, report: HealthReport) -> str:
    worst = report.worst(kind, MAX_ROWS)
    total = sum(finding.kind == kind for finding in report.findings)
    more = f"<p class='quiet'>{len(worst)} of {total}; report.json has all.</p>"
    return (
        f"<h2>{escape(KINDS[kind].capitalize())} ({report.counts[kind]})</h2>"
        f"<details{' open' if total <= MAX_ROWS else ''}><summary>show</summary>"
        f"{_table(('set', 'picture', 'what'), map(_row, worst))}"
        f"{more if total > len(worst) else ''}</details>"
    )


def _row(finding: Finding) -> tuple[str, str, str]:
    return finding.set_name, finding.file_name, finding.message


def _range(values: Mapping[str, float]) -> str:
    return ", ".join(f"{values[key]:g}" for key in ("min", "median", "max")) if values else "none"


def _lines(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(heading)}</h2><ul>{items}</ul>"


def _table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: frozenset[int] | set[int] = frozenset(),
) -> str:
    def line(tag: str, values: Sequence[str]) -> str:
        cells = [
            f"<{tag}{' class=number' if column in numbers else ''}>{escape(value)}</{tag}>"
            for column, value in enumerate(values)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    return f"<table>{line('th', header)}{''.join(line('td', row) for row in rows)}</table>"
