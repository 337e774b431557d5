"""`autotuner janitor`: remove what killed runs left behind."""

import time

import click


@click.command("janitor")
def command() -> None:
    """Remove servers and files that killed runs left on this machine; only ours."""
    from inference_autotuner.workflows.janitor import clean

    removed = clean(time.time())
    for name in removed:
        click.echo(f"removed {name}")
    if not removed:
        click.echo("Nothing was left behind.")
