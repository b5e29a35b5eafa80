"""The conventional rival: latent diffusion of diffusers' own classes, small enough for two cores.

A PixArt transformer over 8 x 8 latent tokens with cross-attention to a CLIP text encoder,
AutoencoderTiny for the latents, flow matching sampled by DPM-Solver++. Saved in diffusers layout,
so the adapter that loads it is the one that loads any pipeline of a hub.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import (
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
)
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

__all__ = [
    "CALL",
    "CAPTION_TOKENS",
    "autoencoder",
    "pipeline",
    "text_encoder",
    "tokenizer",
    "transformer",
]

LATENTS = 8  # channels; 4 lost letters and fine textures
CAPTION_TOKENS = 20  # the longest caption of the suite has 16 words, and one end token
CALL = {  # what every call of the pipeline is given
    "clean_caption": False,
    "use_resolution_binning": False,
    "max_sequence_length": CAPTION_TOKENS,
}


def autoencoder(channels: int = 32) -> AutoencoderTiny:
    """64 x 64 pictures to 8 x 8 x 8 latents and back; images in [-1, 1].

    Initial weights keep the scale of what passes (He et al. 2015) and each block starts as the
    identity; torch's default shrinks a signal over these 25 convolutions.
    """
    vae = AutoencoderTiny(
        encoder_block_out_channels=(channels,) * 4,
        decoder_block_out_channels=(channels,) * 4,
        num_encoder_blocks=(0, 0, 1, 3),
        num_decoder_blocks=(3, 2, 1, 0),
        latent_channels=LATENTS,
    )
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, AutoencoderTinyBlock):
            nn.init.kaiming_normal_(module.conv[0].weight, nonlinearity="relu")
            nn.init.kaiming_normal_(module.conv[2].weight, nonlinearity="relu")
            nn.init.zeros_(module.conv[4].weight)
    pixels = vae.decoder.layers[-1]
    nn.init.constant_(pixels.bias, 0.8)  # pictures are mostly light ground
    with torch.no_grad():
        pixels.weight.mul_(0.3)
    return vae


def tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word of the suite's vocabulary, then an end token."""
    vocabulary = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=CAPTION_TOKENS,
    )


def text_encoder(vocabulary_size: int, width: int = 192, layers: int = 2) -> CLIPTextModel:
    """A CLIP text encoder, trained from scratch together with the transformer.

    It knows each word's place, which decides what a caption says (ADR 0013).
    """
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=CAPTION_TOKENS,
            hidden_act="gelu",
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )


def transformer(
    width: int = 192, layers: int = 6, heads: int = 4, caption_width: int = 192
) -> PixArtTransformer2DModel:
    """Predicts the flow of 8 x 8 x 8 latents; 64 tokens, one a latent position."""
    return PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_layers=layers,
        cross_attention_dim=width,
        sample_size=8,
        patch_size=1,
        caption_channels=caption_width,
        use_additional_conditions=False,
    )


def pipeline(
    vae: AutoencoderTiny,
    denoiser: PixArtTransformer2DModel,
    encoder: CLIPTextModel,
    words: PreTrainedTokenizerFast,
) -> PixArtAlphaPipeline:
    """Assembles the diffusers pipeline; `save_pretrained` writes the layout a hub would hold."""
    return PixArtAlphaPipeline(
        tokenizer=words,
        text_encoder=encoder,
        vae=vae,
        transformer=denoiser,
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0
        ),
    )


def parameters(module: torch.nn.Module) -> int:
    """Counts parameters."""
    return sum(p.numel() for p in module.parameters())
