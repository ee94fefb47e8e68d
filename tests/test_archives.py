"""Archives from strangers: members of hostile names or kinds appear nowhere on the disk, whoever reads the archive."""

import ast
import io
import json
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.data.datasets.backgrounds import _read as read_background
from selfsup3d.data.datasets.frame_index import load_index
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.shards import ShardSource
from selfsup3d.data.sampling.shards_write import Record, write_shards
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.errors import InputError
from selfsup3d.evaluation.records import load_frames, save_frames
from selfsup3d.inference.motion import load_motion
from selfsup3d.inference.records import PoseRecord, load_record
from selfsup3d.io.safe_pickle import load_npz
from selfsup3d.structures.skeleton import H36M_17

PACKAGE = Path(__file__).parents[1]


def test_nothing_is_extracted_by_name():
    """What could write members to disk is called nowhere; archives are read into memory."""
    forbidden = {"extract", "extractall", "unpack_archive", "_extract_member"}
    calls = [
        f"{path.name}:{node.lineno}"
        for folder in ("selfsup3d", "launch")
        for path in (PACKAGE / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in forbidden
    ]
    assert calls == []


@pytest.fixture
def jail(tmp_path, monkeypatch):
    """The folder that archives lie in, some levels down, which is also the working folder."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (tmp_path / "target").write_text("untouched")
    monkeypatch.chdir(folder)
    return folder


def standing(folder):
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def read_and_look(jail, read):
    """What a reader gives, or the InputError that it raises; the disk must be as it was."""
    before = standing(jail.parents[2])
    try:
        return read()
    except InputError as error:
        return error
    finally:
        assert standing(jail.parents[2]) == before
        assert not Path("/evil-of-selfsup3d-tests").exists()


NAMES = [
    "../evil",
    "../../../evil",
    "a/../../evil",
    "/evil-of-selfsup3d-tests",
    "ABSOLUTE/evil",
    "C:\\evil",
    "..\\evil",
    "~/evil",
    "e" * 300,
    "",
]


# ---- zip: every reader of npz ----


def capture():
    poses = np.random.default_rng(0).normal(size=(4, 17, 3)).astype(np.float32)
    return {
        "positions": poses, "offsets": np.array([0, 4]), "subjects": np.array(["anna"]),
        "joint_names": np.array(H36M_17.joint_names), "up_axis": np.array("z"),
    }  # fmt: skip


def record(path):
    rng = np.random.default_rng(0)
    poses, points = rng.normal(size=(3, 17, 3)), rng.uniform(0, 99, (3, 17, 2))
    PoseRecord(poses, points, poses[:, 0], np.arange(3), np.array([[0, 0, 9]] * 3), 12.5).save(path)


class Camera:
    """As much of a `Take` as a background needs."""

    width = height = 8


WRITERS = {
    "plain": lambda path: np.savez(path, x=np.arange(3)),
    "mocap": lambda path: np.savez(path, **capture()),
    "poses": record,
    "per frame": lambda path: save_frames(path, {"index": np.arange(3), "mpjpe": np.ones(3)}),
    "background": lambda path: np.savez(
        path, background=np.zeros((4, 4, 3), np.uint8), noise=np.zeros((4, 4), np.uint8)
    ),
    "index": lambda path: np.savez(path, header=np.array("{}")),
}
READERS = {
    "plain": load_npz,
    "mocap": lambda path: load_mocap(path, "all"),
    "poses": load_record,
    "motion": load_motion,
    "per frame": load_frames,
    "background": lambda path: read_background(path, Camera()),
    "index": load_index,
}
OF = {"motion": "poses"}


def add_entries(path, target):
    """Entries of every hostile name, as arrays, and links."""
    content = io.BytesIO()
    np.save(content, np.arange(3))
    with zipfile.ZipFile(path, "a") as archive:
        for name in NAMES:
            for suffix in ("", ".npy"):
                entry = zipfile.ZipInfo("x")
                entry.filename = name.replace("ABSOLUTE", str(target.parent)) + suffix
                archive.writestr(entry, content.getvalue())
        for name in ("link", "dir"):
            link = zipfile.ZipInfo(name)
            link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, str(target if name == "link" else target.parent))
        archive.writestr("dir/evil.npy", content.getvalue())


@pytest.mark.parametrize("reader", READERS)
def test_zip(jail, reader):
    path = jail / "archive.npz"
    WRITERS[OF.get(reader, reader)](path)
    expected = read_and_look(jail, lambda: READERS[reader](path))
    add_entries(path, jail.parents[2] / "target")
    found = read_and_look(jail, lambda: READERS[reader](path))
    # Readers that ask for what they know get it; those that read all say that they cannot.
    assert type(found) in (type(expected), InputError)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["array", "text", "empty", "cut", "alien zip", "folder"])
def test_what_is_no_npz(jail, reader, kind):
    path = jail / "archive.npz"
    WRITERS[OF.get(reader, reader)](path)
    raw = path.read_bytes()
    path.unlink()
    if kind == "array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif kind == "alien zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("positions.npy", b"no array")
            archive.writestr("index.npy", b"no array")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes({"text": b"a text", "empty": b"", "cut": raw[: len(raw) // 2]}[kind])
    found = read_and_look(jail, lambda: READERS[reader](path))
    assert isinstance(found, InputError), found
    assert str(path) in str(found)


def test_ground_truth_of_rendered_clips(jail, tmp_path_factory):
    prepare(jail, "tiny-test", 32, ("val",), workers=0, progress=False)
    (path, *_) = sorted(jail.rglob("val_truth/*.npz"))
    add_entries(path, jail.parents[2] / "target")
    read_and_look(jail, lambda: SyntheticTruth(jail, "tiny-test", 32, "val").frames(np.arange(1)))
    path.write_bytes(b"PK\x03\x04 no zip")
    found = read_and_look(jail, lambda: SyntheticTruth(jail, "tiny-test", 32, "val").frames(np.arange(1)))
    assert isinstance(found, InputError)
    assert f"{path}: was altered after it was rendered" in str(found)


# ---- tar: shards ----

KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "folder": tarfile.DIRTYPE,
}


def shards(folder):
    pytest.importorskip("webdataset")
    crops = (Record(np.full((8, 8, 3), n, np.uint8), np.eye(3), "anna") for n in range(4))
    write_shards(folder, crops, "mine", per_shard=4)
    return folder / "shard-000000.tar"


def prepend(path, members):
    """Put members before those of a tar; whoever does that leaves no checksum behind that would tell it."""
    raw = path.read_bytes()
    with tarfile.open(path, "w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        with tarfile.open(fileobj=io.BytesIO(raw)) as old:
            for member in old:
                archive.addfile(member, old.extractfile(member))
    listing = path.parent / "shards.json"
    content = json.loads(listing.read_text())
    for shard in content["shards"]:
        shard.pop("sha256")
    listing.write_text(json.dumps(content))


def link(name, kind, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, str(target), 0o777
    member.devmajor, member.devminor = 1, 3
    return member, b""


@pytest.mark.parametrize("kind", KINDS)
def test_tar_members_that_are_no_files(jail, kind):
    """They are passed over, and so is what they seem to lead to; the samples are the same."""
    path = shards(jail / "shards")
    expected = ShardSource(jail / "shards", 8).frames(np.arange(4)).target
    target = jail.parents[2] / "target"
    prepend(path, [link(name or "x", KINDS[kind], target) for name in NAMES])
    found = read_and_look(jail, lambda: ShardSource(jail / "shards", 8).frames(np.arange(4)).target)
    assert bool((found == expected).all())


@pytest.mark.parametrize("name", NAMES)
def test_tar_members_of_hostile_names(jail, name):
    """Their names are at most keys of samples in memory: one too many, which is told."""
    path = shards(jail / "shards")
    name = name.replace("ABSOLUTE", str(jail.parents[2])) or "x"
    prepend(path, [(tarfile.TarInfo(f"{name}{suffix}"), b"evil") for suffix in (".jpg", ".json")])
    found = read_and_look(jail, lambda: ShardSource(jail / "shards", 8).frames(np.arange(4)))
    if name == "..\\evil":  # the library finds no key in such a name
        assert len(found) == 4
    else:
        assert isinstance(found, InputError)
        assert str(path) in str(found)


def test_tar_through_a_link(jail):
    """A link to a folder outside, and a file below it."""
    path = shards(jail / "shards")
    prepend(path, [link("out", tarfile.SYMTYPE, jail.parents[2]), (tarfile.TarInfo("out/evil.jpg"), b"evil")])
    assert isinstance(read_and_look(jail, lambda: ShardSource(jail / "shards", 8).frames(np.arange(4))), InputError)


@pytest.mark.parametrize("name", ["pipe:touch evil #", "file:x", "http:", "{a,b}", "100% mine", "a::b", "ü 中 %s"])
def test_folders_that_look_like_urls_are_folders(jail, name):
    """webdataset would run what follows "pipe:", and expand braces."""
    folder = Path(name)  # relative, as somebody types it who unpacked a stranger's collection here
    shards(folder)
    assert [p.name for p in sorted(jail.iterdir())] == [name]
    assert sorted(p.name for p in folder.iterdir()) == ["shard-000000.tar", "shards.json"]
    found = read_and_look(jail, lambda: ShardSource(folder, 8).frames(np.arange(4)))
    assert len(found) == 4


@pytest.mark.parametrize(
    "name", ["../target", "/etc/passwd", "pipe:touch evil", "a/b.tar", "shard-000000.tar\n", "", 7]
)
def test_listings_name_files_of_their_folder_only(jail, name):
    shards(jail / "shards")
    listing = json.loads((jail / "shards" / "shards.json").read_text())
    listing["shards"][0]["name"] = name
    (jail / "shards" / "shards.json").write_text(json.dumps(listing))
    found = read_and_look(jail, lambda: ShardSource(jail / "shards", 8).frames(np.arange(4)))
    assert isinstance(found, InputError)
