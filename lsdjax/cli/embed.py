"""`lsdjax embed`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.core.errors import UserError


@dataclass(frozen=True)
class EmbedCommand:
    """Make the features of prompts once, so that no stream has to hold the text encoder."""

    folder: Annotated[
        Positional[Path],
        arg(metavar="FOLDER", help="where lsdjax convert put UMT5, with its tokenizer.json"),
    ]
    output: Annotated[
        Positional[Path], arg(metavar="OUT", help="the file to write, prompts.safetensors")
    ]
    prompt: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="TEXT", help="a prompt; give any number")
    ] = ()

    def run(self) -> int:
        if not self.prompt:
            raise UserError("--prompt TEXT is missing; at least one is expected")
        if self.output.is_dir():
            raise UserError(f"{self.output}: a folder, the name of a file to write is expected")
        from lsdjax.checkpoint.convert import load_component
        from lsdjax.text.embeddings import save_embeddings
        from lsdjax.text.tokenizer import find_words
        from lsdjax.text.umt5 import Umt5

        for prompt in self.prompt:
            find_words(prompt)
        loaded = load_component(self.folder, "umt5")
        read = Umt5(loaded.config, loaded.tensors, self.folder / "tokenizer.json")
        save_embeddings(self.output, {prompt: read(prompt) for prompt in self.prompt})
        print(f"{self.output}: {len(self.prompt)} prompts of width {read.width}")
        return 0
