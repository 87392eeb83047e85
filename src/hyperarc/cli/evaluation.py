"""The command that judges models."""

import re
from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result

_ARGUMENT = re.compile(r"[A-Za-z_]\w*=")


def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARTIFACT|KEY=VALUE",
            help="Artifact folders, compared if there are several; the protocol's own arguments, such as norm=false.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="lfw, cfp_fp, ijbc, megaface, folder ...; docs/judging.md lists all.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Folder, zip or .rec of aligned faces, or a .bin; once, or per protocol.")
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pairs", "--protocol-files", help="The protocol's own files, likewise; a .bin needs none."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Instead of these: a recipe, or a YAML file with its section evaluation alone.")
    ] = None,
    embeddings: Annotated[
        list[Path] | None, typer.Option(help="Files of hyperarc embed, judged without running their model.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes, its JSON beside it; default beside the artifact.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge artifacts or stored embeddings by protocols, compare them, and write a page."""
    from hyperarc.commands.evaluate import Models, evaluations_of
    from hyperarc.commands.evaluate import evaluate as run_evaluate
    from hyperarc.commands.evaluation_report import lines_of, page_path, report_evaluation, require_page
    from hyperarc.commands.show import Show
    from hyperarc.recipe.file import load_evaluations, read_values

    arguments = [word for word in words or [] if _ARGUMENT.match(word)]
    artifacts = [Path(word) for word in words or [] if not _ARGUMENT.match(word)]
    if bool(recipe) == bool(protocol):
        raise typer.BadParameter("give either --protocol or --recipe")
    if recipe and (data or pairs or arguments):
        raise typer.BadParameter("with --recipe, the recipe says where faces and pairs are")
    if out is not None:
        require_page(out)
    evaluations = (
        load_evaluations(recipe)
        if recipe
        else evaluations_of(protocol or [], data or [], pairs or [], read_values(arguments))
    )
    judged = run_evaluate(Models(artifacts, embeddings or [], device), evaluations, Show(quiet=quiet))
    facts = report_evaluation(judged, out or page_path(judged, [one.protocol for one in evaluations]))
    print_result(facts, "\n".join([*lines_of(judged), f"report {facts['report']}"]), as_json)
