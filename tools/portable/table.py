"""The table of docs/export.md, from the rows of the runs."""

import json

from portable.models import MODELS

BOUND = 1e-5
MARKS = ("<!-- table: tools/export_table.py -->", "<!-- end of the table -->")


def write(rows, document):
    """Replaces what is between the marks of the document."""
    rows = [json.loads(line) for line in rows.read_text().splitlines()]
    text = document.read_text()
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    document.write_text(f"{before}{MARKS[0]}\n\n{table(rows)}\n{MARKS[1]}{after}")


def table(rows):
    engines = list(dict.fromkeys((row["engine"], row["version"]) for row in rows if "version" in row))
    heads = [f"{name} {version}" for name, version in engines]
    lines = ["| model | file | time | own outputs | " + " | ".join(heads) + " |", "|---|---" + "|---" * (len(heads) + 2) + "|"]
    for model in MODELS:
        of_model = {(row["engine"], row.get("version")): row for row in rows if row["model"] == model}
        newest = of_model.get(engines[0], {})
        lines.append(
            f"| {model} | {figures(newest)} | " + " | ".join(cell(of_model.get(engine), model, rows, engine) for engine in engines) + " |"
        )
    return "\n".join(lines) + "\n"


def figures(row):
    """What one engine says of the file: its growth, its time over the plain model's, and whether the own outputs are the same."""
    if "ratio" not in row:
        return " | | "
    if row["own"] == 0:
        own = "same bits"
    elif row["own_basic"] == 0:
        own = f"{row['own']:.0e}; same bits without fusions"
    else:
        own = f"{row['own']:.0e}"
    return f"+{100 * row['growth']:.2f} % | {row['ratio']:.2f} | {own}"


def cell(row, model, rows, engine):
    """The largest difference of map and heatmap, over all batches."""
    if row is None:
        failed = [row for row in rows if row["engine"] == engine[0] and row["model"] == model and "error" in row]
        return failed[0]["error"][:80] if failed else ""
    if "error" in row:
        return row["error"][:80]
    worst = max(max(batch["map"], batch["heatmap"]) for batch in row["batches"].values())
    classes = sum(batch["classes"] for batch in row["batches"].values())
    text = f"{worst:.0e}" if worst <= BOUND else f"**{worst:.0e}**"
    if worst > BOUND and "scores" in row:
        text += f" (scores of the plain file {row['scores']:.0e})"
    return f"{text}, {classes} other classes" if classes else text
