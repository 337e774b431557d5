"""The engine's command line as somebody else starts it: exact words, and a few left open."""

import os
import re
from dataclasses import dataclass, replace

from inference_autotuner.manifests.withhold import is_secret
from inference_autotuner.optimizer.engine import Engine, Launch
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Params, Trial


@dataclass(frozen=True)
class Variable:
    """A word that an environment variable fills in."""

    name: str


Word = str | Variable
MODEL = Variable("SERVE_MODEL")
HOST = Variable("SERVE_HOST")
PORT = Variable("SERVE_PORT")


def winning_launch(spec: Spec, params: Params, *, model: str, host: str, port: int) -> Launch:
    """What the engine is started with to serve these params."""
    args = {**spec.engine.args, **params}
    return Launch(model, spec.model.servedName, host, port, args)


def secret_variables(spec: Spec) -> dict[str, Variable]:
    """Fixed flags that hold a secret, each with the variable that brings it."""
    return {
        name: secret_variable(name)
        for name, value in spec.engine.args.items()
        if is_secret(name, value)
    }


def secret_variable(flag: str) -> Variable:
    """The variable that brings a flag's secret.

    >>> secret_variable("api-key")
    Variable(name='SERVE_API_KEY')
    """
    return Variable("SERVE_" + re.sub(r"[^A-Z0-9]", "_", flag.upper()))


def closed_words(engine: Engine, spec: Spec, launch: Launch) -> tuple[Word, ...]:
    """The command line with every word in place but secrets."""
    return _with_variables(engine, launch, _secrets(spec, launch))


def open_words(engine: Engine, spec: Spec, launch: Launch) -> tuple[Word, ...]:
    """The command line with model, host, port and secrets left to variables."""
    folder, name = os.path.split(launch.model)
    places = (
        _Place(MODEL, launch.model, replace(launch, model=os.path.join(folder, f"x{name}"))),
        _Place(HOST, launch.host, replace(launch, host=f"{launch.host}0")),
        _Place(PORT, str(launch.port), replace(launch, port=launch.port + 1)),
    )
    return _with_variables(engine, launch, places + _secrets(spec, launch))


def served_model(engine: Engine, spec: Spec, trial: Trial) -> str:
    """The model as a trial's engine got it: a relative path has been resolved by then."""
    launch = winning_launch(spec, trial.params, model=spec.model.name, host="h", port=1)
    words = open_words(engine, spec, launch)
    place = words.index(MODEL)
    # The model stands before the args, which may be spelled otherwise than in the trial.
    is_alike = trial.engine_args[:place] == words[:place] and len(trial.engine_args) > place
    return trial.engine_args[place] if is_alike else spec.model.name


@dataclass(frozen=True)
class _Place:
    """Where a variable belongs: at the words that read `text`, and that `changed` changes."""

    variable: Variable
    text: str
    changed: Launch


def _secrets(spec: Spec, launch: Launch) -> tuple[_Place, ...]:
    return tuple(
        _Place(
            variable,
            str(launch.args[name]),
            replace(launch, args={**launch.args, name: f"{launch.args[name]}x"}),
        )
        for name, variable in secret_variables(spec).items()
    )


def _with_variables(engine: Engine, launch: Launch, places: tuple[_Place, ...]) -> tuple[Word, ...]:
    """The command line with a variable at each place.

    Whole words only: a served name that is made from the model's path stays what it was,
    whatever is served under it.
    """
    line = engine.command_line(launch)
    words: list[Word] = list(line)
    for place in places:
        other = engine.command_line(place.changed)
        for index, (before, after) in enumerate(zip(line, other, strict=True)):
            if before != after and before == place.text:
                words[index] = place.variable
    return tuple(words)
