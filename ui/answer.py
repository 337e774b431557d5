"""A study's answer on a terminal."""

import click

from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.verdict import Verdict
from inference_autotuner.workflows.results import results_folder


def print_answer(study: Study, verdict: Verdict) -> None:
    """The verdict in words, what to know beside it, and where everything lies."""
    from inference_autotuner.manifests.headline import notes
    from inference_autotuner.manifests.roles import build_roles

    folder = results_folder(study.name)
    click.echo()
    click.secho(f"{verdict.kind}: {verdict.summary}", bold=True)
    for note in notes(build_roles(study.task, study.trials(), verdict), verdict):
        click.echo(f"Note:   {note}")
    click.echo(f"Report: {folder / 'report.html'}")
    if (folder / "serve.sh").exists():
        click.echo(f"Serve:  {folder / 'serve.sh'}")
        click.echo(f"Deploy: {folder / 'manifest.yaml'}")
