"""A study's answer on a terminal."""

import click

from inference_autotuner.optimizer.verdict import Verdict
from inference_autotuner.workflows.results import results_folder


def print_answer(study: str, verdict: Verdict) -> None:
    """The verdict in words, and where everything lies."""
    folder = results_folder(study)
    click.echo()
    click.secho(f"{verdict.kind}: {verdict.summary}", bold=True)
    click.echo(f"Report: {folder / 'report.html'}")
    if (folder / "serve.sh").exists():
        click.echo(f"Serve:  {folder / 'serve.sh'}")
        click.echo(f"Deploy: {folder / 'manifest.yaml'}")
