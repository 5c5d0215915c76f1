"""Commands on latency tables."""

from __future__ import annotations

from typing import Annotated

import typer

from edgenas.cli.options import AsJson, print_json

app = typer.Typer(help="Latency tables that ship with edgenas, or lie in a folder.", no_args_is_help=True)


@app.command("list")
def tables_list(as_json: AsJson = False) -> None:
    """Latency tables that ship with edgenas."""
    from edgenas.display import print_table
    from edgenas.latency.table import find_table, table_names

    names = table_names()
    if as_json:
        print_json({"tables": names})
        return
    rows = []
    for name in names:
        table = find_table(name)
        kinds = [row.kind for row in table.rows]
        rows.append([name, str(kinds.count("block")), str(kinds.count("network"))])
    print_table(["table", "blocks", "networks"], rows, right=["blocks", "networks"])


@app.command("show")
def tables_show(
    name: Annotated[str, typer.Argument(help="A shipped table (DEVICE/SETTING), or the path of a table's folder.")],
    as_json: AsJson = False,
) -> None:
    """One table: its circumstances and rows."""
    from dataclasses import asdict

    from edgenas.display import milliseconds, print_table
    from edgenas.latency.table import find_table

    table = find_table(name)
    if as_json:
        print_json(
            {
                "identity": asdict(table.identity),
                "circumstances": table.circumstances,
                "rows": [asdict(r) for r in table.rows],
            }
        )
        return
    facts = {**asdict(table.identity), **table.circumstances}
    print_table(["", ""], [[key, str(value)] for key, value in facts.items()])
    print()
    columns = ["kind", "key", "p50 ms", "p95 ms", "repeat noise"]
    rows = [
        [r.kind, r.key, milliseconds(r.p50_us), milliseconds(r.p95_us), f"{r.repeat_noise:.1%}"] for r in table.rows
    ]
    print_table(columns, rows, right=columns[2:])
