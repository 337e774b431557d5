"""Programs that tests start are no tests, and no modules to import."""

collect_ignore = ["workflows/fake_genai_bench.py", "workflows/fake_engine_program.py"]
