"""`vetrina[serve]` installs and answers in an environment of its own, without any training library."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("torch", "polars", "pyarrow", "pandas", "transformers", "onnx", "ray", "duckdb", "scipy")


def test_serving_modules_load_no_training_library():
    code = (
        "import sys, vetrina.serve.serve, vetrina.gate.probe\n"
        "from vetrina.models.base import find_model, model_names\n"
        "from vetrina.scenarios.base import find_scenario, scenario_names\n"
        "for s in scenario_names(): find_scenario(s)\n"
        "import importlib\n"
        "for m in (*model_names(), 'drill'): importlib.import_module(f'vetrina.models.{find_model(m).name}.online')\n"
        f"print([m for m in {FORBIDDEN} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_bundle_opens_without_encryption():
    code = (
        "import sys, vetrina.gate.probe\n"
        "from vetrina.scenarios.base import find_scenario, scenario_names\n"
        "for name in scenario_names(): find_scenario(name)\n"
        "print('cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", "the probe counts its memory as that of the models"


@pytest.mark.deploy
def test_the_extra_installs_and_answers_without_torch(trained, tmp_path):
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[serve]"]
    subprocess.run(pip, check=True, capture_output=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    assert not [name for name in FORBIDDEN if (site / name).exists()]
    for scenario in ("search", "recommend"):
        from vetrina import Shop

        shop = Shop(trained[0])
        version, _ = shop.shop_context.registry.champion(scenario)
        folder = trained[0] / "bundles" / str(version)
        done = subprocess.run(
            [str(python), "-m", "vetrina.gate.probe", scenario, str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
