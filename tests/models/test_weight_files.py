"""Files of weights: what was written is read, whatever else is in them is refused in one line and does nothing."""

import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bonemet_jax import npz_file
from bonemet_jax.errors import InputDataError
from bonemet_jax.models.weight_files import load_tensors
from tests.models import torch_files
from tests.models.torch_files import DICT, HEAD, number, numbers, storage, tensor, text

ONE = storage("0", b"FloatStorage", 4)


def make_tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "conv1.weight": random.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "bn1.weight": random.normal(size=4), "bn1.bias": random.normal(size=4).astype(np.float16),
        "bn1.running_mean": random.normal(size=4).astype(ml_dtypes.bfloat16),
        "bn1.num_batches_tracked": np.array(7, np.int64), "empty": np.zeros((0, 3), np.float32),
    }


def check_equal(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert set(got) == set(want)
    for name, x in want.items():
        assert got[name].dtype == x.dtype and np.array_equal(got[name], x), name


def refused(path: Path) -> str:
    with pytest.raises(InputDataError) as caught:
        load_tensors(path)
    told = str(caught.value)
    assert "\n" not in told and str(path) in told and len(told) < 400 and caught.value.exit_code == 8
    return told


def put(path: Path, pickled: bytes) -> Path:
    """A file with this pickle and one storage of four floats."""
    return torch_files.save(path, pickled, {"data/0": np.arange(4, dtype=np.float32).tobytes()})


def test_handmade_torch_file_round_trip(tmp_path: Path) -> None:
    tensors = make_tensors()
    got = load_tensors(torch_files.save_tensors(tmp_path / "a.pth", tensors))
    assert got.pop("empty").size == 0 and tensors.pop("empty").size == 0
    check_equal(got, tensors)


def test_npz_and_safetensors_round_trip(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    tensors = {name: x for name, x in make_tensors().items() if x.dtype != ml_dtypes.bfloat16}
    np.savez(tmp_path / "a.npz", **tensors)
    check_equal(load_tensors(tmp_path / "a.npz"), tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    check_equal(load_tensors(tmp_path / "a.safetensors"), tensors)


def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (make peers)")
    from safetensors.torch import save_file

    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    tensors = {f"layer1.{i}.weight": torch.randn(4, 3, 2, 2).to(kind) for i, kind in enumerate(kinds)}
    want = {name: x.double().numpy() for name, x in tensors.items()}
    save_file(tensors, tmp_path / "a.safetensors")
    tensors["lasting"] = tensors["layer1.0.weight"].to(memory_format=torch.channels_last)
    tensors["part"] = tensors["layer1.0.weight"][1:3, :, ::2]
    tensors["learned"] = torch.nn.Parameter(tensors["layer1.0.weight"])
    want |= {name: tensors[name].detach().numpy() for name in ("lasting", "part", "learned")}
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"state_dict": tensors, "epoch": 3, "loss": 0.5, "optimizer": {"state": {0: None}, "lr": [1e-3]}},
               tmp_path / "checkpoint.pt")
    for name in ("plain.pth", "checkpoint.pt", "a.safetensors"):
        got = {key: x.astype(np.float64) for key, x in load_tensors(tmp_path / name).items()}
        assert set(got) == set(tensors) if name != "a.safetensors" else len(got) == 4
        assert all(np.array_equal(x, want[key]) for key, x in got.items())
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert "legacy" in refused(tmp_path / "old.pth") and "torch.save(" in refused(tmp_path / "old.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    assert "the name 'torch.nn.modules.linear Linear'" in refused(tmp_path / "module.pth")


def malicious(canary: Path) -> dict[str, bytes]:
    """Programs that would make the canary, or reach for something, under a real unpickler."""
    command = f"touch {canary}"
    called, quoted = text(command) + b"\x85R", f"S'{command}'\n".encode()
    short = b"\x8c" + bytes([len(command)]) + command.encode()
    code = text(f"open({str(canary)!r}, 'w')") + b"\x85R"
    function = b"cos\nsystem\n"
    return {
        "REDUCE os.system": HEAD + function + called + b".",
        "REDUCE posix.system": HEAD + b"cposix\nsystem\n" + called + b".",
        "GLOBAL builtins eval": HEAD + b"cbuiltins\neval\n" + code + b".",
        "GLOBAL __builtin__ exec": HEAD + b"c__builtin__\nexec\n" + code + b".",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + short + b"\x85R.",
        "protocol 0": b"cos\nsystem\n(" + quoted + b"tR.",
        "INST": b"(" + quoted + b"ios\nsystem\n.",
        "OBJ": HEAD + b"(" + function + text(command) + b"o.",
        "NEWOBJ": HEAD + function + text(command) + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + function + text(command) + b"\x85}\x92.",
        "nested in a state_dict": HEAD + DICT + text("conv1.weight") + function + called + b"s.",
        "after a whole state_dict": torch_files.program({})[:-1] + b"0" + function + called + b".",
        "as a tensor's storage": HEAD + b"ctorch._utils\n_rebuild_tensor_v2\n(" + function + called
        + number(0) + numbers((4,)) + numbers((1,)) + b"tR.",
        "as a backward hook": HEAD + b"ctorch._utils\n_rebuild_tensor_v2\n(" + ONE + number(0) + numbers((4,))
        + numbers((1,)) + b"\x89" + function + called + b"tR.",
        "subprocess": HEAD + b"csubprocess\ncheck_output\n" + text("touch") + text(str(canary)) + b"\x86\x85R.",
        "getattr": HEAD + b"c__builtin__\ngetattr\n" + text("x") + text("y") + b"\x86R.",
        "torch.load": HEAD + b"ctorch\nload\n" + text(str(canary)) + b"\x85R.",
        "pickle in a pickle": HEAD + b"c_pickle\nloads\n" + text("x") + b"\x85R.",
        "a function's globals": HEAD + b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        "numpy's reconstruct": HEAD + b"cnumpy._core.multiarray\n_reconstruct\n.",
        "BUILD on a name": HEAD + b"ccollections\nOrderedDict\n}" + text("__call__") + function + b"sb.",
        "BUILD on a tensor": HEAD + tensor(ONE, (4,), (1,)) + b"}b.",
        "BUILD with a setter": HEAD + DICT + b"}" + text("__class__") + function + b"sb.",
        "a dictionary called": HEAD + b"})R.",
        "a storage kind called": HEAD + b"ctorch\nFloatStorage\n" + number(9) + b"\x85R.",
        "a dictionary made of arguments": HEAD + b"ccollections\nOrderedDict\n" + text("ab") + b"\x85R.",
        "PERSID": b"Pstorage\n.",
        "persistent id of text": HEAD + text("storage") + b"Q.",
        "persistent id of another word": HEAD + storage("0", b"FloatStorage", 4).replace(b"storage", b"modules") + b".",
        "persistent id of a path": HEAD + storage("../../data/0", b"FloatStorage", 4) + b".",
        "persistent id of an absolute path": HEAD + storage("/etc/passwd", b"FloatStorage", 4) + b".",
        "storage of an odd kind": HEAD + b"(" + text("storage") + b"ccollections\nOrderedDict\n" + text("0")
        + text("cpu") + number(4) + b"tQ.",
        "storage of an untyped kind": HEAD + storage("0", b"UntypedStorage", 4) + b".",
        "EXT1": HEAD + b"\x82\x01.",
        "NEXT_BUFFER": b"\x80\x05\x97.",
        "a dictionary as a key": HEAD + b"}}}s.",
    }  # fmt: skip


@pytest.mark.parametrize("kind", malicious(Path("canary")))
def test_malicious_pickle_does_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # whose name may have letters that the old protocols cannot hold
    told = refused(put(tmp_path / "a.pth", malicious(Path("canary"))[kind]))
    assert not Path("canary").exists() and "refused:" in told, told


@pytest.mark.parametrize(
    "kind", ["REDUCE os.system", "GLOBAL builtins eval", "STACK_GLOBAL", "protocol 0", "INST", "OBJ"]
)
def test_the_same_bytes_do_harm_elsewhere(kind: str, tmp_path: Path) -> None:
    command = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    subprocess.run([sys.executable, "-c", command], input=malicious(Path("canary"))[kind], cwd=tmp_path, check=False,
                   capture_output=True)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(("named", "pickled"), [
    ("larger than its storage", tensor(ONE, (5,), (1,))),
    ("larger than its storage", tensor(ONE, (2, 2), (2, 2))),
    ("larger than its storage", tensor(ONE, (4,), (1,), offset=1)),
    ("larger than its storage", tensor(ONE, (1 << 30, 1 << 30), (0, 0))),
    ("odd shape", tensor(ONE, (2,), (-1,), offset=3)),
    ("odd shape", tensor(ONE, (2, 2), (1,))),
    ("another length", tensor(storage("0", b"FloatStorage", 8), (8,), (1,))),
    ("another length", tensor(storage("0", b"DoubleStorage", 4), (4,), (1,))),
    ("damaged", tensor(storage("1", b"FloatStorage", 4), (4,), (1,))),
    ("odd parts", tensor(number(0), (4,), (1,))),
])  # fmt: skip
def test_tensor_that_reaches_outside_is_refused(named: str, pickled: bytes, tmp_path: Path) -> None:
    assert named in refused(put(tmp_path / "a.pth", HEAD + b"}" + text("x") + pickled + b"s."))


@pytest.mark.parametrize("pickled", [
    b"", b".", HEAD, HEAD + b".", HEAD + b"u.", HEAD + b"}u.", HEAD + b"(.", HEAD + b"t.", HEAD + b"\x85.",
    HEAD + b"}(" + text("a") + b"u.", HEAD + b"h\x07.", HEAD + b"q\x00.", HEAD + b"X\xff\xff\xff\x7fa.", HEAD + b"b.",
    HEAD + b"a.", HEAD + b"(0(t.", HEAD + b"K\x01.", HEAD + b"].", b"\xff" * 40,
])  # fmt: skip
def test_broken_program_is_refused(pickled: bytes, tmp_path: Path) -> None:
    refused(put(tmp_path / "a.pth", pickled))


def test_mutated_programs_give_tensors_or_one_line(tmp_path: Path) -> None:
    tensors = {name: x for name, x in make_tensors().items() if x.size}
    whole, random = torch_files.program(tensors), np.random.default_rng(0)
    parts = {f"data/{i}": x.tobytes() for i, x in enumerate(tensors.values())}
    n_refused = 0
    for _ in range(400):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        try:
            load_tensors(torch_files.save(tmp_path / "a.pth", bytes(changed), parts))
        except InputDataError as error:
            assert "\n" not in str(error)
            n_refused += 1
    print(f"{n_refused} of 400 refused")
    assert n_refused > 100


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_truncated_file_is_refused(suffix: str, tmp_path: Path) -> None:
    from safetensors.numpy import save

    tensors = {name: x for name, x in make_tensors().items() if x.dtype != ml_dtypes.bfloat16 and x.size}
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch_files.save_tensors(path, tensors)
    elif suffix == ".npz":
        np.savez_compressed(path, **tensors)
    else:
        path.write_bytes(save(tensors))
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        refused(path)


def with_entry(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch_files.save_tensors(path, {"a": np.ones(4, np.float32)})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, data)

    return write


def compressed(path: Path) -> None:
    torch_files.save(path, torch_files.program({}), {"data/0": bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED)


def overlapping(path: Path) -> None:
    """Every storage's entry in the zip's directory points to the same bytes."""
    torch_files.save(path, torch_files.program({}), {"data/0": bytes(1000), **{f"data/{i}": b"" for i in range(1, 20)}})
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("archive/data/0")
        for i in range(1, 20):
            entry = archive.getinfo(f"archive/data/{i}")
            entry.header_offset, entry.file_size, entry.compress_size = (
                first.header_offset, first.file_size, first.compress_size)  # fmt: skip
        archive.writestr("archive/last", b"")


def over_long(path: Path) -> None:
    torch_files.save(path, HEAD + b"}" * (3 << 20), {})


def two_programs(path: Path) -> None:
    with_entry("other/data.pkl")(path)


@pytest.mark.parametrize(("named", "write"), [
    ("leaves the archive", with_entry("../../outside")),
    ("leaves the archive", with_entry("archive/../../outside")),
    ("leaves the archive", with_entry("/outside")),
    ("leaves the archive", with_entry("archive\\..\\outside")),
    ("compressed or encrypted", compressed),
    ("overlap", overlapping),
    ("over 2 MiB", over_long),
    ("several", two_programs),
    ("big-endian", with_entry("archive/byteorder", b"big")),
], ids=lambda x: x if isinstance(x, str) else "")  # fmt: skip
def test_odd_archive_is_refused(named: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "a.pth")
    assert named in refused(tmp_path / "a.pth")
    assert [f.name for f in tmp_path.iterdir()] == ["a.pth"] and not (tmp_path.parent / "outside").exists()


def test_npz_of_objects_lies_and_bombs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{}], object))
    assert "Python objects" in refused(path)
    np.savez_compressed(path, a=np.zeros(1 << 20, np.float32))
    whole = path.read_bytes()
    monkeypatch.setattr(npz_file, "MAX_ARRAYS", 1 << 20)
    assert "more than 1 MiB" in refused(path)
    monkeypatch.undo()
    path.write_bytes(whole)
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.ljust(127) + b"\n" + bytes(16))
    assert "not as long as its shape" in refused(path)


def test_safetensors_of_odd_dtype_or_lying_header_is_refused(tmp_path: Path) -> None:
    def write(header: object, n: int) -> Path:
        text = json.dumps(header).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(n))
        return tmp_path / "a.safetensors"

    assert "F8_E4M3" in refused(write({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, 4))
    for shape, offsets in (([5], [0, 16]), ([4], [0, 64]), ([4], [8, 24]), ([-4], [0, 16])):
        assert "damaged" in refused(write({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}, 16))


def test_missing_file_and_unknown_kind_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "a.pth")
    (tmp_path / "a.h5").write_bytes(b"x")
    assert ".safetensors, .npz, .pth" in refused(tmp_path / "a.h5")
