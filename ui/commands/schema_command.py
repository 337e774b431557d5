"""`autotuner schema`: the JSON Schema of a task, for editors."""

import json

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a task, for editors."""
    from inference_autotuner.optimizer.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
