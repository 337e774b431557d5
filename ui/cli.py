"""The command `autotuner`: finds the command's module, and turns errors into exit codes."""

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

COMMANDS = (
    "init",
    "validate",
    "plan",
    "convert",
    "run",
    "render",
    "submit",
    "list",
    "status",
    "logs",
    "stop",
    "report",
    "compare",
    "export",
    "janitor",
    "storage",
    "doctor",
    "schema",
    "step",
)
EXIT_BUG = 70
EXIT_STOPPED = 130


class CommandGroup(click.Group):
    """Commands in the order in which a person needs them; each is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, as `--help` shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command called `name`."""
        if name not in COMMANDS:
            return None
        command = import_module(f"inference_autotuner.ui.commands.{name}_command").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest spelling when there is no such command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"no command '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)


_BEGINNING = """\b
To begin:
  autotuner init --engine llamacpp --model model.gguf --write task.yaml
  autotuner plan task.yaml
  autotuner run task.yaml
"""


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_BEGINNING,
)
@click.version_option(package_name="inference-autotuner")
@click.option("--debug", is_flag=True, help="Show tracebacks, also for mistakes in a task.")
def cli(debug: bool) -> None:
    """Find the launch flags that serve your traffic best, and prove it."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code that docs/cli.md lists."""
    try:
        # A command ends with another code by raising Exit, which click turns into an answer.
        code = cli.main(args=list(arguments), prog_name="autotuner", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_STOPPED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nobody is left to tell
        return 0
    except Exception as error:
        return _explain(error, is_debug="--debug" in arguments)
    return code or 0


def _explain(error: Exception, *, is_debug: bool) -> int:
    from inference_autotuner.optimizer.errors import AutotunerError

    if isinstance(error, AutotunerError) and not is_debug:
        click.echo(str(error), err=True)
    else:
        traceback.print_exception(error)
    if isinstance(error, AutotunerError):
        return error.exit_code
    click.echo(
        "This is a bug of inference-autotuner; please report it with the text above.", err=True
    )
    return EXIT_BUG


def main() -> None:
    """The entry point of the package."""
    sys.exit(run(sys.argv[1:]))
