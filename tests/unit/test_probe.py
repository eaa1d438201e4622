"""What a packed file costs is that of the process that opens it, whoever asks."""

import shutil
from pathlib import Path

import numpy as np

from vetrina import Shop
from vetrina.gate.probe import ProbeResult, probe_in_fresh_process


def test_memory_is_that_of_the_process_that_serves_and_not_of_who_started_it(predicting, tmp_path: Path):
    shop = Shop(shutil.copytree(predicting[0], tmp_path / "shop"))
    folder = shop.shop_context.version_folder(shop.shop_context.registry.champion("predict")[0])
    ballast = np.ones(120_000_000)
    seen = probe_in_fresh_process("predict", folder)
    assert isinstance(seen, ProbeResult), seen
    assert 20 < seen.memory_mb < ballast.nbytes / 2**20 / 2
