"""Writes outputs.npz, torch.pt and legacy.pt with torch, transformers and diffusers, by hand."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from draw import uniform, weight
from transformers import UMT5Config, UMT5EncoderModel

HERE = Path(__file__).parent
UMT5_NAMES = {
    r"encoder\.embed_tokens": "token_embedding",
    r"encoder\.final_layer_norm": "norm",
    r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias":
        r"blocks.\1.pos_embedding.embedding",
    r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.([qkvo])": r"blocks.\1.attn.\2",
    r"encoder\.block\.(\d+)\.layer\.0\.layer_norm": r"blocks.\1.norm1",
    r"encoder\.block\.(\d+)\.layer\.1\.layer_norm": r"blocks.\1.norm2",
    r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_0": r"blocks.\1.ffn.gate.0",
    r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_1": r"blocks.\1.ffn.fc1",
    r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wo": r"blocks.\1.ffn.fc2",
}  # fmt: skip
VAE_NAMES = {
    "quant_conv": "conv1",
    "post_quant_conv": "conv2",
    r"(\w+)\.conv_in": r"\1.conv1",
    r"(\w+)\.norm_out": r"\1.head.0",
    r"(\w+)\.conv_out": r"\1.head.2",
    r"(\w+)\.mid_block\.attentions\.0\.(.*)": r"\1.middle.1.\2",
}


def vae_name(name: str) -> str:
    """The public name of a tensor of AutoencoderKLWan."""
    stem, _, end = name.rpartition(".")
    for theirs, public in VAE_NAMES.items():
        if match := re.fullmatch(theirs, stem):
            return f"{match.expand(public)}.{end}"
    parts = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3"}
    parts |= {"conv2": "residual.6", "conv_shortcut": "shortcut"}
    where, _, last = stem.rpartition(".")
    stem = f"{where}.{parts[last]}" if last in parts else stem
    stem = re.sub(r"encoder\.down_blocks", "encoder.downsamples", stem)
    stem = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"middle.{2 * int(m[1])}", stem)
    for layer, place in (("resnets", "{}"), ("upsamplers", "3")):  # three blocks, then up
        stem = re.sub(
            rf"up_blocks\.(\d)\.{layer}\.(\d)",
            lambda m, place=place: f"upsamples.{4 * int(m[1]) + int(place.format(m[2]))}",
            stem,
        )
    return f"{stem}.{end}"


def fill(model: torch.nn.Module, rename) -> torch.nn.Module:
    """The model with every parameter drawn under its public name."""
    drawn = {
        name: torch.tensor(weight(rename(name), tuple(x.shape)))
        for name, x in model.state_dict().items()
    }
    model.load_state_dict(drawn, strict=True)
    return model.eval().float()


def umt5() -> dict[str, np.ndarray]:
    config = UMT5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=3,
        relative_attention_num_buckets=32, dropout_rate=0.0,
    )  # fmt: skip

    def rename(name: str) -> str:
        name = name.replace("shared.", "encoder.embed_tokens.").removesuffix(".weight")
        made = [m.expand(y) for x, y in UMT5_NAMES.items() if (m := re.fullmatch(x, name))]
        return f"{made[0]}.weight"

    model = fill(UMT5EncoderModel(config), rename)
    ids = np.abs(uniform("ids", (40,)) * 40).astype(int)
    made = model(torch.tensor(ids)[None], torch.tensor(np.arange(40) < 34)[None].long())
    return {"umt5": made.last_hidden_state[0, :34].numpy()}


def vae() -> dict[str, np.ndarray]:
    model = fill(AutoencoderKLWan(base_dim=8), vae_name)
    mean, deviation = (
        torch.tensor(x)[None, :, None, None, None]
        for x in (model.config.latents_mean, model.config.latents_std)
    )
    frames = torch.tensor(uniform("frames", (1, 9, 16, 24, 3))).permute(0, 4, 1, 2, 3)
    latents = (model.encode(frames).latent_dist.mode() - mean) / deviation
    given = torch.tensor(uniform("latents", (1, 3, 2, 3, 16))).permute(0, 4, 1, 2, 3)
    made = model.decode(given * deviation + mean).sample
    return {f"vae {k}": v.permute(0, 2, 3, 4, 1).numpy() for k, v in
            (("latents", latents), ("frames", made))}  # fmt: skip


def dit() -> dict[str, np.ndarray]:
    model = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=20, text_dim=12, freq_dim=32, ffn_dim=56,
        num_layers=2,
    )  # fmt: skip
    fill(model, lambda name: name)
    noisy = torch.tensor(uniform("noisy", (1, 3, 4, 6, 16))).permute(0, 4, 1, 2, 3)
    words = torch.zeros(1, 7, 12)
    words[:, :5] = torch.tensor(uniform("words", (5, 12)))
    times = torch.tensor([875.0, 500.0, 125.0]).repeat_interleave(6)[None]  # of six tokens each
    made = model(noisy, times, words).sample
    return {"dit": made.permute(0, 2, 3, 4, 1).numpy()}


def torch_files() -> None:
    """Tensors as training scripts leave them; all hold 0, 1/8, 2/8, ..."""

    def count(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return (torch.arange(np.prod(shape)) / 8).reshape(shape).to(dtype)

    tied = count(2, 3)
    tensors = OrderedDict(
        {
            "float32": count(2, 3, 4),
            "bfloat16": count(2, 3, dtype=torch.bfloat16),
            "float16": count(2, 3, dtype=torch.float16),
            "float64": count(2, 3, dtype=torch.float64),
            "int64": torch.arange(6).reshape(2, 3),
            "bool": torch.tensor([True, False]),
            "scalar": torch.tensor(1.25),
            "empty": torch.zeros(0, 4),
            "parameter": torch.nn.Parameter(count(2, 3)),
            "transposed": count(2, 3).t().contiguous().t(),
            "channels last": count(1, 2, 3, 4).to(memory_format=torch.channels_last),
            "slice": torch.cat([torch.full((7,), 9.0), count(6), torch.ones(2)])[7:13].view(2, 3),
            "_fsdp_wrapped_module.tied": tied,
            "again": tied,
        }
    )
    tensors._metadata = OrderedDict({"": {"version": 1}})
    other = {"float32": count(2, 3, 4) + 1}
    torch.save({"generator": other, "generator_ema": tensors, "step": 7}, HERE / "torch.pt")
    torch.save({"x": torch.zeros(2)}, HERE / "legacy.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    with torch.no_grad():
        np.savez(HERE / "outputs.npz", **umt5() | vae() | dit())
    torch_files()
