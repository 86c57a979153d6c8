"""What azureml-inference-server-http 1.5.1 under gunicorn really printed, and what is read from it."""

import pytest

from deployments.status.server_log import find_failure, last_line, level_of

INIT = """\
[2026-11-21 09:27:36 +0000] [14368] [INFO] Starting gunicorn 27.0.1
2026-11-21 09:27:37,514 W [14369] azmlinfsrv.trace - Model directory is not set or does not exist:
2026-11-21 09:27:37,514 I [14369] azmlinfsrv.user_script - Invoking user's init function
2026-11-21 09:27:37,514 E [14369] azmlinfsrv - User's init function failed
2026-11-21 09:27:37,515 E [14369] azmlinfsrv - Encountered Exception Traceback (most recent call last):
  File "/venv/lib/site-packages/azureml_inference_server_http/server/user_script.py", line 119, in invoke_init
    self._user_init()
  File "/var/azureml-app/code/score.py", line 3, in init
    open("/nope/vocab.json")
FileNotFoundError: [Errno 2] No such file or directory: '/nope/vocab.json'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/azureml_inference_server_http/server/aml_blueprint.py", line 109, in setup
    self.user_script.invoke_init()
azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception from the user script

2026-11-21 09:27:37,515 I [14369] gunicorn.error - Worker exiting (pid: 14369)
[2026-11-21 09:27:37 +0000] [14368] [ERROR] Worker (pid:14369) exited with code 3.
[2026-11-21 09:27:37 +0000] [14368] [ERROR] Shutting down: Master
[2026-11-21 09:27:37 +0000] [14368] [ERROR] Reason: Worker failed to boot.
"""
IMPORT = """\
2026-11-21 09:27:38,835 E [14374] azmlinfsrv - Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/azureml_inference_server_http/server/user_script.py", line 77, in load_script
    main_module_spec.loader.exec_module(user_module)
  File "<frozen importlib._bootstrap_external>", line 940, in exec_module
  File "/var/azureml-app/code/lib/score.py", line 1, in <module>
    import nopandas
ModuleNotFoundError: No module named 'nopandas'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
azureml_inference_server_http.server.user_script.UserScriptImportException: \
Failed to import user script because it raised an unhandled exception
"""
FUNCTION = """\
2026-11-21 09:27:40,122 E [14390] azmlinfsrv - Traceback (most recent call last):
    raise UserScriptError(f"User script at {user_module.__file__} does not have a init() function defined.")
azureml_inference_server_http.server.user_script.UserScriptError: \
User script at /var/azureml-app/code/score.py does not have a init() function defined.
"""


def test_an_error_in_init_is_proved_by_the_users_own_traceback() -> None:
    found = find_failure(INIT)
    assert found is not None
    assert found.name == "UserScriptInitFailed"
    assert found.proof == "FileNotFoundError: [Errno 2] No such file or directory: '/nope/vocab.json'"
    assert found.place == "score.py, line 3"


def test_a_script_that_cannot_be_imported_names_what_is_missing() -> None:
    found = find_failure(IMPORT)
    assert found is not None
    assert (found.name, found.proof) == ("UserScriptImportError", "ModuleNotFoundError: No module named 'nopandas'")
    assert found.place == "lib/score.py, line 1"


def test_a_missing_function_is_named() -> None:
    found = find_failure(FUNCTION)
    assert found is not None
    assert (found.name, found.function) == ("UserScriptFunctionNotFound", "init")
    assert found.proof.endswith("does not have a init() function defined.")


def test_an_ordinary_log_says_nothing_of_the_script() -> None:
    assert find_failure("[2026-11-21] [INFO] Starting gunicorn\nkilled\n") is None


def test_the_last_line_that_matters_is_not_the_servers_good_bye() -> None:
    assert last_line(INIT).endswith("Worker (pid:14369) exited with code 3.")
    assert last_line("\n\n") == ""


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-11-21 09:27:37,514 E [14369] azmlinfsrv - User's init function failed", "error"),
        ("2026-11-21 09:27:37,514 W [14369] azmlinfsrv.trace - Model directory is not set", "warn"),
        ("2026-11-21 09:27:37,514 I [14369] azmlinfsrv - Worker ready", "info"),
        ("[2026-11-21 09:27:37 +0000] [14368] [ERROR] Reason: Worker failed to boot.", "error"),
        ("ModuleNotFoundError: No module named 'nopandas'", "error"),
        ("score.py:41: UserWarning: feature_names are in another order", "warn"),
        ("Everything is fine", "info"),
    ],
)
def test_a_line_is_as_bad_as_it_says(text: str, level: str) -> None:
    assert level_of(text) == level
