"""The architectures under test, each made from its config with random weights.

Nothing here may download, draw a random number at import, or use dropout: eager
and compiled runs of one model must differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
import x_transformers
from torch import nn

BATCH = 2
LENGTH = 16
VOCABULARY = 97
WIDTH = 64
TEXT = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ONE_LAYER = {"num_hidden_layers": 1, "num_attention_heads": 4}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Architecture:
    """A model made from a config, and a batch that suits it.

    Attributes:
        name: Its name in test ids.
        build: Makes the model. Like `inputs` it draws from torch's global
            generator: seed it before.
        inputs: Makes the keyword arguments of one call.
        since: The first torch whose Dynamo captures it in one graph.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]
    since: str = "2.7"


def bert() -> nn.Module:
    config = transformers.BertConfig(
        **TEXT, **ONE_LAYER, **NO_DROPOUT, hidden_size=WIDTH, intermediate_size=2 * WIDTH
    )
    return transformers.BertModel(config)


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        **TEXT,
        n_positions=64,
        n_embd=48,
        n_layer=1,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    return transformers.GPT2LMHeadModel(config)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(
        **TEXT, **ONE_LAYER, hidden_size=80, intermediate_size=160, use_cache=False
    )
    return transformers.LlamaForCausalLM(config)


def qwen3() -> nn.Module:
    """Grouped queries and normalised heads, which Llama has not."""
    config = transformers.Qwen3Config(
        **TEXT,
        **ONE_LAYER,
        hidden_size=96,
        intermediate_size=128,
        num_key_value_heads=2,
        head_dim=16,
        use_cache=False,
    )
    return transformers.Qwen3ForCausalLM(config)


def t5() -> nn.Module:
    config = transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=16,
        d_ff=2 * WIDTH,
        num_layers=1,
        num_heads=4,
        dropout_rate=0.0,
        use_cache=False,
        decoder_start_token_id=0,
    )
    return transformers.T5ForConditionalGeneration(config)


def mamba() -> nn.Module:
    config = transformers.MambaConfig(
        **TEXT, hidden_size=WIDTH, state_size=8, num_hidden_layers=1, use_cache=False
    )
    return transformers.MambaForCausalLM(config)


def vit() -> nn.Module:
    config = transformers.ViTConfig(
        **ONE_LAYER,
        **NO_DROPOUT,
        image_size=32,
        patch_size=8,
        hidden_size=48,
        intermediate_size=96,
    )
    return transformers.ViTModel(config)


def convnext() -> nn.Module:
    config = transformers.ConvNextConfig(
        image_size=32, patch_size=4, hidden_sizes=[32, 64], depths=[1, 1], num_stages=2
    )
    return transformers.ConvNextModel(config)


def resnet() -> nn.Module:
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic"
    )
    return transformers.ResNetModel(config)


def wav2vec2() -> nn.Module:
    config = transformers.Wav2Vec2Config(
        **ONE_LAYER,
        vocab_size=32,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        conv_dim=(32, 32),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
    )
    return transformers.Wav2Vec2Model(config)


def x_decoder() -> nn.Module:
    """A decoder with shifted tokens and normalised queries and keys.

    Not with rotary or relative positions: those enter autocast or call einx, and
    torch's AOTAutograd cache bypasses graphs that do either.
    """
    layers = x_transformers.Decoder(
        dim=WIDTH,
        depth=1,
        heads=4,
        attn_dim_head=16,
        attn_qk_norm=True,
        shift_tokens=1,
        ff_glu=True,
    )
    return x_transformers.TransformerWrapper(
        num_tokens=VOCABULARY, max_seq_len=64, attn_layers=layers
    )


def x_vit() -> nn.Module:
    """A vision transformer with talking heads and sandwich norms."""
    layers = x_transformers.Encoder(
        dim=WIDTH,
        depth=1,
        heads=4,
        attn_dim_head=16,
        attn_pre_talking_heads=True,
        sandwich_norm=True,
        use_rmsnorm=True,
    )
    return x_transformers.ViTransformerWrapper(
        image_size=32, patch_size=8, num_classes=10, attn_layers=layers
    )


def tokens(length: int = LENGTH) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (BATCH, length))


def images() -> torch.Tensor:
    return torch.randn(BATCH, 3, 32, 32)


def text() -> dict[str, Any]:
    return {"input_ids": tokens()}


def ragged_text() -> dict[str, Any]:
    """The second sequence is shorter, so that masks are compiled as well."""
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, LENGTH - 5 :] = 0
    return {"input_ids": tokens(), "attention_mask": mask}


def ragged_text_to_text() -> dict[str, Any]:
    return {**ragged_text(), "decoder_input_ids": tokens(8)}


def short_text() -> dict[str, Any]:
    """Short, because the scan of a state space model is unrolled token by token."""
    return {"input_ids": tokens(5)}


def pixels() -> dict[str, Any]:
    return {"pixel_values": images()}


def waveform() -> dict[str, Any]:
    return {"input_values": torch.randn(BATCH, 800)}


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("bert", bert, ragged_text),
        Architecture("gpt2", gpt2, text),
        Architecture("llama", llama, text),
        Architecture("qwen3", qwen3, ragged_text),
        Architecture("t5", t5, ragged_text_to_text),
        Architecture("mamba", mamba, short_text),
        Architecture("vit", vit, pixels),
        Architecture("convnext", convnext, pixels),
        Architecture("resnet", resnet, pixels),
        Architecture("wav2vec2", wav2vec2, waveform),
        Architecture("x-decoder", x_decoder, lambda: {"x": tokens()}, since="2.9"),
        Architecture("x-vit", x_vit, lambda: {"img": images()}, since="2.9"),
    )
}
