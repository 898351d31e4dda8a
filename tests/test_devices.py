"""Every tensor that the package makes says on which device: no default of the caller's decides."""

import ast
from pathlib import Path

import rome_widgets

PACKAGE = Path(rome_widgets.__file__).parent
FACTORIES = {
    *("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "tensor"),
    *("randperm", "tril_indices", "triu_indices", "zeros"),
}
"""Functions of torch that place what they make on the default device, unless told."""


def unplaced(path):
    """Calls of these without a device, as file and line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in FACTORIES
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "torch"
            and "device" not in {keyword.arg for keyword in node.keywords}
        ):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}: torch.{node.func.attr}"


def test_every_tensor_is_made_on_a_named_device():
    found = [place for path in sorted(PACKAGE.rglob("*.py")) for place in unplaced(path)]
    assert found == []
