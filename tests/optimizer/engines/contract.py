"""What every engine must do: a new one subclasses this with one fixture."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.check import check
from inference_autotuner.optimizer.engine import (
    RESOLVED_LIMIT,
    Engine,
    Launch,
    engine_names,
    get_engine,
    identity,
)
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.expressions import check_expression, holds, names_in
from inference_autotuner.optimizer.failures import MESSAGE_LIMIT
from inference_autotuner.optimizer.flags import Boolean, Flag, complaint, normalize
from inference_autotuner.optimizer.spec import TuningTask

LAUNCH = Launch("org/model", "chat", "127.0.0.1", 8123, {})
# An engine is a constant: the fixture gives the same one to every example.
RELAXED = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
EXIT_CODES = st.none() | st.integers(-64, 255)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def values_of(flag: Flag) -> list[Any]:
    """Some values that a flag takes."""
    if flag.type == "bool":
        return [True, False]
    if flag.type == "json":
        return [{"key": 1}]
    if flag.type == "str":
        return list(flag.choices) or ["word"]
    least = 1 if flag.minimum is None else flag.minimum
    number = float(least) if flag.type == "float" else int(least)
    return [number, *flag.words]


class EngineContract:
    """Subclass it, and give the fixture `engine`."""

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError

    @pytest.fixture
    def task(self, engine: Engine) -> TuningTask:
        spec = {
            "model": {"name": "org/model"},
            "engine": {"name": engine.name},
            "deployment": {"mode": "process"},
            "parameters": engine.search_space,
            "workload": {"scenarios": ["D(100,50)"]},
        }
        return TuningTask.model_validate({"metadata": {"name": "first"}, "spec": spec})

    def test_it_is_found_by_its_name(self, engine: Engine) -> None:
        assert engine.name in engine_names()
        assert get_engine(engine.name) is engine

    def test_every_alias_is_another_spelling_of_a_flag_that_it_takes(self, engine: Engine) -> None:
        for alias, name in engine.aliases.items():
            assert engine.knows(name) or name in engine.reserved, (alias, name)
            assert alias not in engine.flags, alias

    def test_a_name_has_one_canonical_spelling(self, engine: Engine) -> None:
        for name in (*engine.flags, *engine.others, *engine.aliases):
            canonical = engine.canonical(name)
            assert engine.canonical(canonical) == canonical
            assert engine.canonical(f"--{canonical.replace('-', '_')}") == canonical

    def test_a_flag_is_offered_reserved_gone_or_on_its_way_out_but_one_of_them(
        self, engine: Engine
    ) -> None:
        groups = [engine.flags, engine.others, engine.reserved, engine.removed, engine.deprecated]
        names = [name for group in groups for name in group]
        assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)

    def test_every_remedy_names_something_that_it_takes(self, engine: Engine) -> None:
        for remedy in (*engine.removed.values(), *engine.deprecated.values()):
            if remedy.startswith("nothing: "):
                continue
            first = remedy.split(":")[0].split(",")[0].split(" ")[0]
            assert engine.knows(first), remedy

    def test_defaults_pass_their_own_checks(self, engine: Engine) -> None:
        for name, flag in engine.flags.items():
            if flag.default is not None:
                assert complaint(flag, flag.default) is None, name
            for value in values_of(flag):
                assert complaint(flag, value) is None, (name, value)

    def test_a_default_without_a_spelling_is_one_of_the_words(self, engine: Engine) -> None:
        for name, flag in engine.flags.items():
            if flag.omits_default:
                assert isinstance(flag.default, str), name
                assert engine.render({name: flag.default}) == (), name

    def test_rules_compile_read_known_flags_and_hold_for_the_defaults(self, engine: Engine) -> None:
        room = engine.room.format(tokens=1000)
        for expression in (room, *(rule.expression for rule in engine.rules)):
            check_expression(expression)
            assert all(name in engine.flags for name in names_in(expression)), expression
            assert holds(expression, engine.defaults()), expression

    def test_the_command_line_does_not_depend_on_the_order_of_args(self, engine: Engine) -> None:
        args = {name: values_of(flag)[0] for name, flag in engine.flags.items()}
        turned = dict(reversed(args.items()))
        assert engine.render(args) == engine.render(turned)

    def test_the_command_line_says_model_name_and_address_once(self, engine: Engine) -> None:
        line = engine.command_line(LAUNCH)
        for word in ("org/model", "chat", "127.0.0.1", "8123"):
            assert line.count(word) == 1, line
        options = [word.strip("-") for word in line if word.startswith("--")]
        assert all(name in engine.reserved for name in options), options

    def test_requests_use_the_served_name_that_was_given(self, engine: Engine) -> None:
        assert engine.served_name(LAUNCH) == "chat"
        assert engine.served_name(Launch("org/model", None, "127.0.0.1", 1, {}))

    def test_defaults_need_a_whole_number_of_gpus(self, engine: Engine) -> None:
        assert engine.gpus({}) in (0, 1)

    def test_spelling_out_every_default_changes_nothing(self, engine: Engine) -> None:
        assert identity(engine, engine.defaults()) == identity(engine, {}) == ()

    @RELAXED
    @given(data=st.data())
    def test_defaults_beside_other_args_change_nothing(
        self, engine: Engine, data: st.DataObject
    ) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(engine.flags)), unique=True, max_size=6))
        args = {name: data.draw(st.sampled_from(values_of(engine.flags[name]))) for name in names}
        assert identity(engine, args) == identity(engine, {**engine.defaults(), **args})
        settled = engine.settled(args)
        assert engine.settled(settled) == settled
        assert identity(engine, settled) == identity(engine, args)

    def test_booleans_are_written_in_the_flags_own_form(self, engine: Engine) -> None:
        for name, flag in engine.flags.items():
            if flag.type != "bool":
                continue
            off = (f"--no-{name}",) if flag.boolean is Boolean.NEGATABLE else ()
            assert engine.render({name: True}) == (f"--{name}",)
            assert engine.render({name: False}) == off

    def test_the_proposed_search_space_passes_the_check(
        self, engine: Engine, task: TuningTask
    ) -> None:
        findings = check(task)
        assert findings.mistakes == ()
        assert findings.warnings == ()
        for name, parameter in task.spec.parameters.items():
            values = [normalize(engine.flags[name], v) for v in parameter.expanded()]
            assert len(values) > 1, name

    @RELAXED
    @given(log=st.text(), exit_code=EXIT_CODES)
    def test_any_log_is_classified_with_a_message(
        self, engine: Engine, log: str, exit_code: int | None
    ) -> None:
        failure = engine.classify(log, exit_code)
        assert 0 < len(failure.message) <= MESSAGE_LIMIT

    @RELAXED
    @given(answer=JUNK, log=st.text())
    def test_any_answer_and_any_log_give_a_small_configuration(
        self, engine: Engine, answer: Any, log: str
    ) -> None:
        assert len(json.dumps(engine.read_config(answer))) <= RESOLVED_LIMIT
        assert len(json.dumps(engine.read_log(log))) <= RESOLVED_LIMIT

    def test_a_silent_server_was_never_ready(self, engine: Engine) -> None:
        failure = engine.classify("", None)
        assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.NEVER_READY)

    def test_a_server_killed_without_a_word_ran_into_the_machines_memory(
        self, engine: Engine
    ) -> None:
        failure = engine.classify("loading\n", -9)
        assert (failure.blame, failure.reason) == (Blame.WORLD, Reason.HOST_OUT_OF_MEMORY)

    def test_the_load_generator_sends_ignore_eos(self, engine: Engine) -> None:
        assert engine.api_backend in ("vllm", "sglang")

    def test_it_can_be_started(self, engine: Engine) -> None:
        assert engine.programs
        assert all(engine.programs)
        assert engine.container_command

    def test_its_image_has_the_version_that_is_asked_for(self, engine: Engine) -> None:
        assert engine.image == engine.image_for(engine.version)
        assert "9.8.7" in engine.image_for("v9.8.7")
