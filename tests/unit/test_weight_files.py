"""Weight files: tensors by name, a fingerprint of their contents, and whether an adapter fits."""

from hashlib import blake2b

import pytest
import torch
from safetensors.torch import save_file

from pruner.errors import InputError
from pruner.judges.weight_files import check_adapter_fits, local_folder, tensor_shapes, weights_fingerprint


def model_folder(path, width=4):
    path.mkdir()
    save_file({"model.layers.0.q_proj.weight": torch.arange(8.0 * width).reshape(8, width)}, path / "m.safetensors")
    return path


def test_an_adapter_for_another_model_is_refused_by_name_of_the_layer(tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    name = "base_model.model.model.layers.0.q_proj.lora_"
    values = {f"{name}A.weight": torch.zeros(2, 4), f"{name}B.weight": torch.zeros(8, 2)}
    save_file(values, adapter / "adapter_model.safetensors")
    check_adapter_fits(adapter, model_folder(tmp_path / "fits"))
    with pytest.raises(InputError, match=r"layers\.0\.q_proj has width 4 in the adapter and 5 in the model"):
        check_adapter_fits(adapter, model_folder(tmp_path / "wider", 5))


def test_a_fingerprint_is_of_weights_only_and_sees_their_change(tmp_path):
    one, other = model_folder(tmp_path / "one"), model_folder(tmp_path / "other")
    (other / "config.json").write_text("{}")
    assert weights_fingerprint(one) == weights_fingerprint(other)
    save_file({"model.layers.0.q_proj.weight": torch.ones(8, 4)}, other / "m.safetensors")
    assert weights_fingerprint(one) != weights_fingerprint(other)
    (other / "m.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="no readable safetensors"):
        tensor_shapes(other)


def test_a_fingerprint_does_not_depend_on_how_the_weights_are_split(tmp_path):
    values = {"a": torch.arange(6.0), "b": torch.ones(2, 3)}
    whole, split = tmp_path / "whole", tmp_path / "split"
    for folder in (whole, split):
        folder.mkdir()
    save_file(values, whole / "m.safetensors")
    for number, (name, value) in enumerate(reversed(values.items())):
        save_file({name: value}, split / f"m-{number}.safetensors")
    assert weights_fingerprint(whole) == weights_fingerprint(split)


def test_a_fingerprint_is_of_every_tensors_name_kind_shape_and_ends(tmp_path):
    """The shipped adapter's card has the fingerprint of its base model, so it may not change."""
    save_file({"a": torch.tensor([1.5, 2.5]), "b": torch.zeros(2, 3)}, tmp_path / "m.safetensors", {"made": "here"})
    assert tensor_shapes(tmp_path) == {"a": (2,), "b": (2, 3)}
    ends = {"a:F32:(2,)": torch.tensor([1.5, 2.5]), "b:F32:(2, 3)": torch.zeros(6)}
    expected = b"".join(name.encode() + 2 * values.numpy().tobytes() for name, values in ends.items())
    assert weights_fingerprint(tmp_path) == blake2b(expected, digest_size=16).hexdigest()


@pytest.mark.parametrize(
    "content", [b"", b"\x09\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]", b'\x08\0\0\0\0\0\0\0{"a": {}}']
)
def test_a_file_without_a_whole_header_is_named(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.safetensors: no readable safetensors file"):
        tensor_shapes(tmp_path)


def test_an_adapter_of_a_layer_that_is_not_there_is_refused(tmp_path):
    (adapter := tmp_path / "adapter").mkdir()
    save_file({"base_model.model.other.lora_A.weight": torch.zeros(2, 4)}, adapter / "a.safetensors")
    with pytest.raises(InputError, match="other has width 4 in the adapter and no such layer in the model"):
        check_adapter_fits(adapter, model_folder(tmp_path / "base"))
    (other_format := tmp_path / "other_format").mkdir()
    check_adapter_fits(adapter, other_format)


def test_a_folder_is_itself_and_a_model_that_was_never_downloaded_is_none(tmp_path):
    assert local_folder(str(tmp_path)) == tmp_path
    assert local_folder("nobody/nothing-of-this-name") is None
    assert local_folder("no//hub id") is None
