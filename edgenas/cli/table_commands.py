"""Commands on latency tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.errors import UserError

if TYPE_CHECKING:
    pass

TABLE = "A shipped table (DEVICE/SETTING), or the path of a table's folder."
Name = Annotated[str, typer.Argument(help=TABLE)]
NewFolder = Annotated[Path, typer.Option(help="The new table's folder.")]
app = typer.Typer(help="List, show, check, merge and import latency tables.", no_args_is_help=True)


@app.command("list")
def tables_list(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the latency tables that ship with edgenas."""
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
    name: Name,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show a table: its identity, circumstances and rows."""
    from dataclasses import asdict
    from math import isnan

    from edgenas.display import print_table
    from edgenas.latency.table import find_table
    from edgenas.quantities import milliseconds

    table = find_table(name)
    if as_json:
        print_json(
            {
                "identity": asdict(table.identity),
                "circumstances": table.circumstances,
                "rows": [row.to_json() for row in table.rows],
            }
        )
        return
    facts = {**asdict(table.identity), **table.circumstances}
    print_table(["", ""], [[key, str(value)] for key, value in facts.items()])
    print()
    columns = ["kind", "key", "p50 ms", "p95 ms", "repeat noise"]
    rows = [
        [
            row.kind,
            row.key,
            milliseconds(row.p50_us),
            "-" if isnan(row.p95_us) else milliseconds(row.p95_us),
            "-" if isnan(row.repeat_noise) else f"{row.repeat_noise:.1%}",
        ]
        for row in table.rows
    ]
    print_table(columns, rows, right=columns[2:])


@app.command("check")
def tables_check(
    name: Name,
    space: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A space, a preset or YAML: list its blocks that the table lacks."),
    ] = None,
    classes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Number of classes of that space's networks. Default: the table's."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Warn about wide intervals, drift, load, and rows that do not fit the others. The exit code is always 0."""
    from edgenas.cli.table_display import print_check
    from edgenas.latency.table import find_table
    from edgenas.latency.table_check import check_table, table_classes
    from edgenas.profiling.timing_plan import distinct_blocks
    from edgenas.space.loading import load_space

    if classes is not None and space is None:
        raise UserError("--classes is the number of classes of the networks of --space: add --space, or leave it out")
    table = find_table(name)
    checked = load_space(space) if space else None
    blocks = distinct_blocks(checked.with_classes(classes or table_classes(name, table, checked))) if checked else ()
    warnings = check_table(table, checked, blocks)
    if as_json:
        print_json({"table": name, "rows": len(table.rows), "warnings": [warning.to_json() for warning in warnings]})
    else:
        print_check(name, table, warnings)


@app.command("diff")
def tables_diff(
    first: Annotated[str, typer.Argument(metavar="A", help=TABLE)],
    second: Annotated[str, typer.Argument(metavar="B", help="Another table, or another session of the same one.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare two tables: identity fields, rows that only one has, ratios and rank correlation of common rows."""
    from edgenas.cli.table_display import print_diff
    from edgenas.latency.table import find_table
    from edgenas.latency.table_diff import diff_tables

    diff = diff_tables(find_table(first), find_table(second))
    if as_json:
        print_json({"first": first, "second": second, **diff.to_json()})
    else:
        print_diff(first, second, diff)


@app.command("merge")
def tables_merge(
    names: Annotated[list[str], typer.Argument(metavar="A B …", help="Tables of one identity, the newest last.")],
    out: NewFolder,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Merge tables of the same identity. If several have a row, the merged table has that of the last one."""
    from edgenas.cli.table_display import print_written
    from edgenas.files import user_path
    from edgenas.latency.table import check_new, find_table
    from edgenas.latency.table_merge import merge_tables, out_of_order

    check_new(user_path(out))
    tables = [find_table(name) for name in names]
    merged = merge_tables(tables, names)
    merged.create(user_path(out))
    replaced = sum(len(table.rows) for table in tables) - len(merged.rows)
    if as_json:
        print_json({"table": str(out), "rows": len(merged.rows), "replaced": replaced})
    else:
        notes = [f"{replaced} rows are in several tables: the merged one has those of the table given last"]
        if out_of_order(tables):
            notes.append("by their dates, a newer table is given before an older one: check the order")
        print_written(merged, str(out), notes if replaced else [])


@app.command("import")
def tables_import(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV of one network a line: a column arch, or once-for-all's ks, e, d and r (3-5-7 or 3,5,7), and a "
            "latency; perhaps std, in the same unit, and count."
        ),
    ],
    out: NewFolder,
    space: Annotated[str, typer.Option(help="The networks' space: a preset or a space YAML.")],
    classes: Annotated[int, typer.Option(min=1, help="Number of classes of the networks.")],
    device: Annotated[str, typer.Option(help="The device's name.")],
    latency_column: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Default: latency_us, latency_ms or latency_s."),
    ] = None,
    unit: Annotated[
        Optional[Literal["us", "ms", "s"]],  # noqa: UP045
        typer.Option(help="Unit of the latencies. Default: the ending of the column's name."),
    ] = None,
    statistic: Annotated[
        Literal["p50", "mean", "unknown"], typer.Option(help="Statistic of the latencies.")
    ] = "unknown",
    runtime: Annotated[str, typer.Option(help="onnxruntime, tflite, …")] = "unknown",
    runtime_version: Annotated[str, typer.Option()] = "unknown",
    provider: Annotated[str, typer.Option(help="Execution provider or delegate: cpu, …")] = "unknown",
    precision: Annotated[str, typer.Option(help="fp32, int8, …")] = "unknown",
    threads: Annotated[Optional[int], typer.Option(min=1)] = None,  # noqa: UP045
    optimisation_level: Annotated[
        str, typer.Option(help="Graph optimisation level: all, extended, basic, disable.")
    ] = "unknown",
    spinning: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--spinning/--no-spinning", help="Whether idle threads spin."),
    ] = None,
    exporter_version: Annotated[str, typer.Option(help="Version of the exporter that wrote the models.")] = "unknown",
    quantiser_recipe: Annotated[str, typer.Option(help="none, or the recipe of their quantisation.")] = "unknown",
    graph_variant: Annotated[
        str, typer.Option(help="Graph variant of the models: direct, pooled, blocked.")
    ] = "unknown",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import a table of whole networks that others measured. Fields that you do not give are written as unknown."""
    from edgenas.cli.table_display import print_written
    from edgenas.errors import TableError
    from edgenas.files import file_name, user_path
    from edgenas.latency.table import check_new
    from edgenas.latency.table_import import import_networks
    from edgenas.records.latency import UNKNOWN, Identity
    from edgenas.space.loading import load_space

    try:
        file_name(device)
    except ValueError as error:
        raise TableError(f"--device: {error}") from None
    identity = Identity(
        device=device,
        runtime=runtime,
        runtime_version=runtime_version,
        provider=provider,
        precision=precision,
        threads=UNKNOWN if threads is None else threads,
        optimisation_level=optimisation_level,
        spinning=UNKNOWN if spinning is None else spinning,
        exporter_version=int(exporter_version) if re.fullmatch("[0-9]{1,9}", exporter_version) else exporter_version,
        quantiser_recipe=quantiser_recipe,
        graph_variant=graph_variant,
    )
    check_new(user_path(out))
    table = import_networks(
        user_path(file),
        load_space(space).with_classes(classes),
        identity,
        latency_column=latency_column,
        unit=unit,
        statistic=statistic,
    )
    table.create(user_path(out))
    repeated = table.circumstances.get("repeated_networks", 0)
    if as_json:
        print_json({"table": str(out), "rows": len(table.rows), "repeated_networks": repeated})
    else:
        note = f"{repeated} networks are on several lines: the table has their medians"
        print_written(table, str(out), [note] if repeated else [])
