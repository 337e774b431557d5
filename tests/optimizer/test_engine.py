import pytest

from inference_autotuner.optimizer.engine import engine_names, get_engine, identity


def test_engines_are_found_by_file_name() -> None:
    assert engine_names() == ("llamacpp", "sglang", "vllm")


def test_an_engine_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="tgi"):
        get_engine("tgi")


def test_names_are_brought_to_one_spelling() -> None:
    vllm = get_engine("vllm")
    assert vllm.canonical("max_num_seqs") == "max-num-seqs"
    assert vllm.canonical("--tp") == "tensor-parallel-size"
    assert vllm.canonical("cc.cudagraph_mode") == "compilation-config.cudagraph_mode"


def test_a_part_of_a_known_json_flag_is_known() -> None:
    assert get_engine("vllm").knows("compilation-config.mode")
    assert not get_engine("vllm").knows("compilation-confg.mode")


def test_families_of_flags_are_known_by_their_beginning() -> None:
    assert get_engine("sglang").knows("disaggregation-ib-device")
    assert not get_engine("sglang").knows("disagregation-ib-device")


def test_args_win_over_defaults_under_every_spelling() -> None:
    known = get_engine("sglang").with_defaults({"tp": 4})
    assert known["tp-size"] == 4
    assert known["dp-size"] == 1
    assert "tp" not in known


def test_spelling_and_order_make_no_other_trial() -> None:
    sglang = get_engine("sglang")
    one = identity(sglang, {"tp": 2, "schedule_conservativeness": 0.5})
    assert one == identity(sglang, {"schedule-conservativeness": 0.5, "tensor-parallel-size": 2})


def test_a_long_value_is_not_kept_with_a_trial() -> None:
    vllm = get_engine("vllm")
    log = "non-default args: {" + "x" * 5000
    assert len(vllm.read_log(log)["non-default-args"]) == 1001


def test_a_program_of_ones_own_choice_keeps_the_words_that_its_engine_needs() -> None:
    assert get_engine("vllm").fixed_words("/opt/vllm/bin/vllm") == ("serve",)
    assert get_engine("llamacpp").fixed_words("build/bin/llama-server") == ()
    assert get_engine("vllm").fixed_words("/opt/my-wrapper") == ()
