"""Commands on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.errors import UserError

app = typer.Typer(help="List, show and describe devices.", no_args_is_help=True)


@app.command("list")
def devices_list(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the devices that ship with edgenas."""
    from edgenas.display import print_table
    from edgenas.latency.device import device_names, load_device

    devices = [load_device(name) for name in device_names()]
    if as_json:
        print_json({"devices": [device.model_dump(mode="json") for device in devices]})
        return
    print_table(["name", "cpu", "description"], [[d.name, d.cpu, d.description] for d in devices])
    print("\nIn a config, `here` stands for this machine.")


@app.command("show")
def devices_show(
    name: Annotated[str, typer.Argument(help="A shipped device, or the path of a device YAML.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show a device as YAML."""
    from edgenas.latency.device import dump_device
    from edgenas.runs.devices import resolve_device

    device = resolve_device(name)
    if as_json:
        print_json(device.model_dump(mode="json"))
    else:
        print(dump_device(device), end="")


@app.command("probe")
def devices_probe(
    output: Annotated[Path, typer.Argument(help="The YAML file to write.")] = Path("this-machine.yaml"),
    name: Annotated[Optional[str], typer.Option(help="The device's name. Default: the file's.")] = None,  # noqa: UP045
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    precision: Annotated[Literal["fp32", "int8"], typer.Option(help="Precision of the models.")] = "fp32",
    on: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="PLACE",
            help="Address of another machine: ssh://user@host[:port][?python=/path/to/python3]; or browser: the one on "
            "this machine.",
        ),
    ] = None,
    probed: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="JSON", help="Output of `python3 bench.py --probe` on a machine out of reach."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a device file that describes this machine, or another one."""
    from edgenas.files import prove_writable, write_text
    from edgenas.latency.device import dump_device
    from edgenas.profiling.device_probe import probe_device

    if output.exists():
        raise UserError(f"{output} exists: choose another name, or remove it")
    prove_writable(output)
    device = probe_device(name or output.stem, threads, precision, on=on, probed=probed)
    write_text(output, dump_device(device))
    if as_json:
        print_json(device.model_dump(mode="json"))
    else:
        print(f"wrote {output}; name it in a config as devices: [{output}]")
