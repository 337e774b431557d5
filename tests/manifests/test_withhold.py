import pytest

from inference_autotuner.manifests.withhold import is_secret, scrub, secrets_of, withhold
from tests.samples import sample_task


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "OPENAI_API_KEY", "api-key", "admin-api-key", "DB_PASSWORD", "secret"]
)
def test_a_name_that_ends_in_a_word_for_secrets_is_secret(name):
    assert is_secret(name, "abc")


@pytest.mark.parametrize(
    "name", ["tokenizer", "max-num-batched-tokens", "long-prefill-token-threshold", "keyfile"]
)
def test_a_name_that_only_sounds_like_one_is_not(name):
    assert not is_secret(name, "abc")


def test_a_number_is_no_secret():
    assert not is_secret("max-token", 5)


def test_secrets_of_a_task_are_found_wherever_they_are():
    task = sample_task(
        engine={
            "name": "llamacpp",
            "args": {"api-key": "sk-0123456789"},
            "env": {"HF_TOKEN": "hf_abcdefgh", "OMP_NUM_THREADS": "2"},
        }
    )
    assert set(secrets_of(task)) == {"sk-0123456789", "hf_abcdefgh"}


def test_a_secret_is_taken_out_of_a_text():
    assert scrub("key=sk-0123456789.", ["sk-0123456789"]) == "key=(withheld)."


def test_a_secret_too_short_to_be_one_does_not_tear_a_text_apart():
    assert scrub("a text", ["t"]) == "a text"


def test_lists_and_maps_are_searched():
    found = withhold({"a": [{"token": "x"}, 1], "b": {"password": "y", "c": "z"}})
    assert found == {
        "a": [{"token": "(withheld)"}, 1],
        "b": {"password": "(withheld)", "c": "z"},
    }
