"""What the images are built from."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements-cluster.lock", "requirements-bench.lock")
BUILT_FROM = ("Dockerfile", ".dockerignore", *LOCKS)


def pins(lock: str) -> set[str]:
    """`name==version` of every package."""
    return set(re.findall(r"^[\w.-]+==[^\s;]+", (ROOT / lock).read_text(), re.M))


@pytest.mark.parametrize("lock", LOCKS)
def test_the_images_hold_the_versions_that_are_tested(lock: str) -> None:
    assert pins(lock) <= pins("requirements.lock"), "run make lock"


def test_the_small_image_holds_no_load_generator_and_no_engine() -> None:
    names = {pin.partition("==")[0] for pin in pins("requirements-cluster.lock")}
    assert {"hera", "kubernetes", "grpcio", "psycopg"} <= names
    assert not {"genai-bench", "xllamacpp", "gradio", "pytest"} & names


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_hashes(lock: str) -> None:
    packages = re.split(r"^(?=\S)", (ROOT / lock).read_text(), flags=re.M)[1:]
    assert all("--hash=sha256:" in package for package in packages)


@pytest.mark.parametrize("name", BUILT_FROM)
def test_no_file_names_where_packages_come_from(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_the_images_run_as_a_number_that_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
