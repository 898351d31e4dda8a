"""What a folder or file on disk is, where it is not a model that can be loaded, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from rome_widgets.errors import ModelNotFound

WANTED = (
    "A folder with config.json, a tokenizer and safetensors weights, or a .gguf file, was wanted."
)
OF_TORCH = (".bin", ".pt", ".pth", ".ckpt")


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a part of a model, with the part and how to come by it.

    Raises:
        ModelNotFound: No configuration, or no weights in safetensors files.
    """
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names and "adapter_config.json" in names:
        raise ModelNotFound(
            f"{folder} holds an adapter of PEFT, not a model.",
            WANTED,
            "Load the model that it is for with AutoModelForCausalLM, put the adapter on with "
            f"peft.PeftModel.from_pretrained(model, {str(folder)!r}), and pass "
            "rome_widgets.LanguageModel(merged, tokenizer), merged being what its "
            "merge_and_unload() returns.",
        )
    if "config.json" not in names:
        raise ModelNotFound(f"{folder} has no config.json.", WANTED, _inside(folder, names))
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelNotFound(
            f"{folder} has no safetensors weights.", WANTED, _other_weights(folder, names)
        )


def _inside(folder: Path, names: Iterable[str]) -> str:
    """A model may be one folder further down."""
    below = sorted(name for name in names if (folder / name / "config.json").is_file())
    if below:
        return f"Did you mean {str(folder / below[0])!r}?"
    return "Check the path."


def _other_weights(folder: Path, names: Iterable[str]) -> str:
    of_torch = next((name for name in sorted(names) if name.endswith(OF_TORCH)), None)
    if of_torch is None:
        return "Copy the weights there, or check the path."
    return (
        f"{of_torch} can run code when it is read, so it is not read here. If you trust it: "
        f"AutoModelForCausalLM.from_pretrained({str(folder)!r}, use_safetensors=False)"
        ".save_pretrained(another_folder), and the tokenizer's files with it."
    )


def not_a_folder(path: Path) -> ModelNotFound:
    """The error for a path where there is no folder, or something else."""
    if path.suffix == ".gguf":
        return ModelNotFound(f"There is no file {str(path)!r}.", WANTED, _near(path))
    if path.is_file():
        beside = (path.parent / "config.json").is_file()
        remedy = f"Did you mean {str(path.parent)!r}?" if beside else "Pass the folder."
        return ModelNotFound(f"{path} is a file.", WANTED, remedy)
    return ModelNotFound(f"There is no folder {str(path)!r}.", WANTED, _near(path))


def _near(path: Path) -> str:
    near = near_models(path.name, path.parent)
    if near is None:
        return "Check the path."
    return f"Did you mean {str(path.parent / near)!r}?"


def near_models(name: str, folder: Path = Path()) -> str | None:
    """The folder or file of a model in this folder whose name is most like `name`."""
    try:
        there = [
            path.name
            for path in folder.iterdir()
            if path.suffix == ".gguf" or (path / "config.json").is_file()
        ]
    except OSError:
        return None
    return next(iter(difflib.get_close_matches(name, there, n=1)), None)


def broken_part(folder: Path, part: str, said: str) -> ModelNotFound:
    """The error for a folder, or a file, of which one part is missing or cannot be read."""
    if part == "tokenizer" and folder.suffix != ".gguf":
        return ModelNotFound(
            f"{folder} has no tokenizer that can be read: {said}",
            WANTED,
            f"Save it there with tokenizer.save_pretrained({str(folder)!r}), or load both with "
            "transformers and pass rome_widgets.LanguageModel(model, tokenizer).",
        )
    return ModelNotFound(
        f"The {part} of {folder} cannot be read: {said}",
        WANTED,
        "Check the files; a copy or a download may have been cut short.",
    )
