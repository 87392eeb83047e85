"""What every command has, and how its result is shown."""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No notes and no progress bars.")]


def print_result(content: dict[str, Any], text: str, as_json: bool) -> None:
    """The facts as JSON, or in words."""
    print(json.dumps(content, indent=2, default=str) if as_json else text)
