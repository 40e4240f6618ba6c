"""Put on PYTHONPATH by tests/test_pipeline.py: notes which files below data/ and models/ a stage of dvc opens.

Python sees what it opens itself; what pyarrow and safetensors open natively is not noted.
"""

import os
import sys
from typing import Any

_STAGE, _LOG = os.environ.get("DVC_STAGE"), os.environ.get("OPENED_FILES")

if _STAGE and _LOG:
    _root = os.getcwd()
    _file = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.relpath(os.fsdecode(arguments[0]), _root)
            if path.startswith(("data" + os.sep, "models" + os.sep)) and ".partial" not in path:
                os.write(_file, f"{_STAGE}\t{path}\n".encode())

    sys.addaudithook(_note)
