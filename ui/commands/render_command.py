"""`autotuner render`: what a task becomes on a cluster, as YAML, without one."""

import click

from inference_autotuner.ui.reading import read_with_warnings


@click.command("render")
@click.argument("task_file", metavar="TASK")
@click.option("--image", help="Image with the command autotuner.")
@click.option("--bench-image", help="The same with genai-bench.")
def command(task_file: str, image: str | None, bench_image: str | None) -> None:
    """Print the Workflow of a task and the objects of its first trial; nothing is sent."""
    from inference_autotuner.ui.rendering import rendered

    click.echo(rendered(read_with_warnings(task_file), image, bench_image), nl=False)
