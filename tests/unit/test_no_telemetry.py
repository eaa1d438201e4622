"""Nothing is reported to the makers of libraries."""

import os
import subprocess
import sys
from pathlib import Path

OPEN_A_SESSION = """
import numpy as np
from onnx import TensorProto, helper
from vetrina.bundle.onnx_session import open_session

x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "graph", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
print(open_session(model.SerializeToString()).run(None, {"x": np.ones(1, np.float32)}))
"""


def test_onnx_runtime_makes_no_id_of_this_machine(tmp_path: Path):
    # It reports nothing on machines of continuous integration by itself, which would hide the fault.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITHUB_", "ORT_"))}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", OPEN_A_SESSION]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "1." in done.stdout
    assert list(tmp_path.rglob("*onnxruntime*")) == []
