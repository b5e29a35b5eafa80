"""Pipelines of published classes, made so small that they draw in a moment; weights are random."""

import json
from pathlib import Path
from typing import Any

from harness import assets

FOLDER = Path(assets.resolve("package:harness/systems/architectures"))
CLIP = {"vocab_size": 500, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
CLIP |= {"num_attention_heads": 2, "projection_dim": 16, "max_position_embeddings": 77}
T5 = {"vocab_size": 500, "d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1}
VAE = {"block_out_channels": [8] * 4, "layers_per_block": 1, "norm_num_groups": 4}
TINY = {
    "sd15": {
        "unet": {
            "block_out_channels": [8] * 4,
            "layers_per_block": 1,
            "cross_attention_dim": 16,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        },
        "text_encoder": CLIP,
    },
    "sdxl": {
        "unet": {
            "block_out_channels": [8] * 3,
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": [2, 2, 2],
            "transformer_layers_per_block": [1, 1, 1],
            "norm_num_groups": 4,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 16,
        },
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
    },
    "pixart-sigma": {
        "transformer": {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 1,
            "cross_attention_dim": 16,
            "caption_channels": 16,
            "sample_size": 8,
        },
        "text_encoder": T5,
    },
    "sd35-medium": {
        "transformer": {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "joint_attention_dim": 32,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 32,
            "pos_embed_max_size": 16,
            "dual_attention_layers": [0],
            "sample_size": 8,
        },
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
        "text_encoder_3": {**T5, "d_model": 32},
    },
}
CALL: dict[str, dict[str, Any]] = {
    "pixart-sigma": {"use_resolution_binning": False, "clean_caption": False}
}
WORDS = {"length": 16}
EULER = {"class": "diffusers.FlowMatchEulerDiscreteScheduler", "config": {}}
WHOLE = {  # of classes that no shipped architecture has
    "flux": {
        "pipeline": "FluxPipeline",
        "arguments": {},
        "components": {
            "scheduler": EULER,
            "tokenizer": {"length": 77},
            "tokenizer_2": WORDS,
            "text_encoder": {
                "class": "transformers.CLIPTextModel",
                "config": {**CLIP, "hidden_size": 32, "projection_dim": 32},
            },
            "text_encoder_2": {
                "class": "transformers.T5EncoderModel",
                "config": {**T5, "d_model": 32},
            },
            "transformer": {
                "class": "diffusers.FluxTransformer2DModel",
                "config": {
                    "patch_size": 1,
                    "in_channels": 16,
                    "num_layers": 1,
                    "num_single_layers": 1,
                    "attention_head_dim": 16,
                    "num_attention_heads": 2,
                    "joint_attention_dim": 32,
                    "pooled_projection_dim": 32,
                    "axes_dims_rope": [4, 4, 8],
                },
            },
            "vae": {
                "class": "diffusers.AutoencoderKL",
                "config": {
                    **VAE,
                    "down_block_types": ["DownEncoderBlock2D"] * 4,
                    "up_block_types": ["UpDecoderBlock2D"] * 4,
                    "latent_channels": 4,
                    "use_quant_conv": False,
                    "use_post_quant_conv": False,
                    "shift_factor": 0.1,
                },
            },
        },
    },
    "sana": {
        "pipeline": "SanaPipeline",
        "arguments": {},
        "components": {
            "scheduler": EULER,
            "tokenizer": WORDS,
            "text_encoder": {
                "class": "transformers.Gemma2Model",
                "config": {
                    "vocab_size": 500,
                    "hidden_size": 8,
                    "intermediate_size": 16,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "head_dim": 4,
                },
            },
            "transformer": {
                "class": "diffusers.SanaTransformer2DModel",
                "config": {
                    "patch_size": 1,
                    "in_channels": 4,
                    "out_channels": 4,
                    "num_layers": 1,
                    "num_attention_heads": 2,
                    "attention_head_dim": 4,
                    "num_cross_attention_heads": 2,
                    "cross_attention_head_dim": 4,
                    "cross_attention_dim": 8,
                    "caption_channels": 8,
                    "sample_size": 32,
                },
            },
            "vae": {
                "class": "diffusers.AutoencoderDC",
                "config": {
                    "latent_channels": 4,
                    "attention_head_dim": 2,
                    "encoder_block_types": ["ResBlock", "EfficientViTBlock"],
                    "decoder_block_types": ["ResBlock", "EfficientViTBlock"],
                    "encoder_block_out_channels": [8, 8],
                    "decoder_block_out_channels": [8, 8],
                    "encoder_qkv_multiscales": [[], [5]],
                    "decoder_qkv_multiscales": [[], [5]],
                    "encoder_layers_per_block": [1, 1],
                    "decoder_layers_per_block": [1, 1],
                    "downsample_block_type": "conv",
                    "upsample_block_type": "interpolate",
                    "decoder_norm_types": "rms_norm",
                    "decoder_act_fns": "silu",
                },
            },
        },
    },
}


def described(name: str) -> dict[str, Any]:
    """A shipped architecture, or one of WHOLE."""
    if name in WHOLE:
        return json.loads(json.dumps(WHOLE[name]))
    return json.loads((FOLDER / f"{name}.json").read_text())


def written(name: str, folder: Path) -> Path:
    """Its tiny likeness as a file that RandomWeights reads."""
    small = described(name)
    for part, changes in {**TINY[name], "vae": VAE}.items() if name in TINY else ():
        small["components"][part]["config"] |= changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps(small))
    return path
