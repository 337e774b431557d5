"""`autotuner init`: a first task with a sensible search space."""

from pathlib import Path

import click


@click.command("init")
@click.option("--engine", required=True, help="sglang, vllm or llamacpp.")
@click.option("--model", required=True, help="A path or a hub id; with --mode ome its OME name.")
@click.option("--name", help="Name of the task. Default: made from the model's.")
@click.option(
    "--mode",
    type=click.Choice(["process", "docker", "kubernetes", "ome"]),
    default="process",
    show_default=True,
    help="Where the engine runs.",
)
@click.option(
    "--write",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a new file instead of the terminal.",
)
def command(engine: str, model: str, name: str | None, mode: str, path: Path | None) -> None:
    """Write a task to begin with."""
    from inference_autotuner.optimizer.template import first_task
    from inference_autotuner.workflows.model_files import name_from_task
    from inference_autotuner.workflows.writing import writing_to

    place = path or Path("task.yaml")  # what is printed is saved in this folder
    named = name_from_task(model, mode=mode, task_file=place)
    text = first_task(engine=engine, model=named, name=name, mode=mode)
    if path is None:
        click.echo(text, nl=False)
        return
    if path.exists():
        raise click.UsageError(f"{path} exists; give another name, or remove it")
    with writing_to(path, "make its folder, make it writable, or name another file"):
        path.write_text(text)
    click.echo(f"Wrote {path}; check it with 'autotuner validate {path}'.")
