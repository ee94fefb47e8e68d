"""WebDataset shards of crops: written once, then streamed, each shard by one rank at a time.

    FOLDER/shards.json              shards with their sample counts; written last
    FOLDER/shard-000000.tar         KEY.jpg crop, KEY.mask.png saliency, KEY.background.jpg background, KEY.json the rest

For collections too large for one disk: a shard is read from front to back, whole, and nothing else is sought. Each
step's samples are cut into *lanes*, and each lane has its own shards in each epoch, so that a rank (whose samples are
whole lanes) reads shards that no other rank reads in that epoch, and each sample is seen once an epoch. Which sample
has which number depends on the samples of a step alone, not on how many processes share them.
"""

from __future__ import annotations

import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, Field

from selfsup3d.data.priors.pose_prior import PosePrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.clip_pairs import CameraPrior
from selfsup3d.data.sampling.dataset import training_sample
from selfsup3d.data.sampling.shards_write import LISTING, Record, webdataset_library
from selfsup3d.errors import FatalInputError, InputError
from selfsup3d.io.json_yaml import first_fault, parse_json
from selfsup3d.io.limits import read_within
from selfsup3d.io.names import clean_component
from selfsup3d.io.quiet_codecs import silent
from selfsup3d.io.stored_arrays import file_digest
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["ShardSource", "altered_shards", "lanes_of"]

_LANES = 8
_REMEDY = "copy it again, or delete {folder} and write it anew (selfsup3d prepare-data --shards)"


@dataclass(frozen=True)
class _Shard:
    """A shard in memory, still encoded.

    Attributes:
        samples: name of a part ("jpg", "json" ...) -> bytes, one dict a sample.
        facts: the decoded json of each.
        of_person: person -> samples.
    """

    samples: list[dict[str, bytes]]
    facts: list[_Sample]
    of_person: dict[str, list[int]]


class ShardSource:
    """Training samples and evaluation frames from shards.

    Args:
        folder: with shards.json.
        size: S of the samples; crops are reduced to it.
        samples_per_step: of all ranks and micro-batches together.
        split_by: ranks times micro-batches of a step; lanes are a multiple of it where that is possible.
        labels: training samples hold joints too, where the shards have them.
        pose_prior, camera_prior, augmentation: as of `clip_pairs.PairSource`.

    Raises:
        InputError: no finished shards there, of another version, or crops smaller than `size`.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int = 128,
        *,
        samples_per_step: int = 16,
        split_by: int = 1,
        labels: bool = False,
        pose_prior: PosePrior | None = None,
        camera_prior: CameraPrior | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.folder = Path(folder)
        listing = _read_listing(self.folder)
        self.name = listing.dataset
        self.notes = dict(listing.notes)
        self.image_size = size
        if listing.size < size:
            raise InputError(
                f"{self.folder}: its crops have {listing.size} px; ask for at most that (data.size {size})"
            )
        self._names = [shard.name for shard in listing.shards]
        self._digests = {number: shard.sha256 for number, shard in enumerate(listing.shards) if shard.sha256}
        self._counts = np.array([shard.samples for shard in listing.shards])
        self._labels = labels
        self._priors = pose_prior, camera_prior
        self._augmentation = augmentation
        self._per_step = samples_per_step
        self._lanes = lanes_of(samples_per_step, split_by, len(self._names))
        self._orders: dict[int, _Epoch] = {}
        self._loaded: OrderedDict[int, _Shard] = OrderedDict()

    def __len__(self) -> int:
        """Samples, each once."""
        return int(self._counts.sum())

    # ---- which sample ----

    def place(self, number: int) -> tuple[int, int]:
        """Shard and position in it of a global sample number."""
        step, within = divmod(number, self._per_step)
        per_lane = self._per_step // self._lanes
        lane, place = divmod(within, per_lane)
        place += step * per_lane
        epoch = 0
        while place >= (length := self._epoch(epoch).lengths[lane]):
            place -= length
            epoch += 1
        return self._epoch(epoch).sample(lane, place)

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._orders:
            self._orders[number] = _Epoch(number, self._counts, self._lanes)
        return self._orders[number]

    # ---- samples ----

    def batch(self, streams: RandomStreams) -> Batch:
        """Training samples: each of an epoch once, paired with another of its person in the same shard."""
        places = [self.place(int(n)) for n in streams.indices]
        choice, other = streams.uniform(), streams.uniform()
        target = [self._read(shard, position) for shard, position in places]
        source = [self._read(s, self._partner(s, p, u)) for (s, p), u in zip(places, choice, strict=True)]
        lent = [self._read(s, int(u * len(self._shard(s).samples))) for (s, _), u in zip(places, other, strict=True)]
        batch = _batch(target, source, self._labels, self.name)
        background = _images([r.background for r in lent])
        return training_sample(batch, streams, background, self._augmentation, *self._priors)

    def frames(self, indices: np.ndarray) -> Batch:
        """Samples in the order of the shards, with what labels they have."""
        indices = np.asarray(indices, dtype=np.int64)
        ends = np.cumsum(self._counts)
        shards = np.searchsorted(ends, indices, side="right")
        places = [(int(s), int(i - ends[s] + self._counts[s])) for s, i in zip(shards, indices, strict=True)]
        target = [self._read(*place) for place in places]
        source = [self._read(s, self._partner(s, p, 0.5)) for s, p in places]
        return replace(_batch(target, source, True, self.name), index=torch.from_numpy(indices.copy()))

    def _partner(self, shard: int, position: int, uniform: float) -> int:
        loaded = self._shard(shard)
        mine = loaded.of_person[loaded.facts[position].person]
        return mine[int(uniform * len(mine))]

    def _read(self, shard: int, position: int) -> Record:
        loaded = self._shard(shard)
        sample, facts = loaded.samples[position], loaded.facts[position]
        name, size = f"{self.folder / self._names[shard]}: sample {position}", self.image_size
        crop = _decode(sample.get("jpg"), cv2.IMREAD_COLOR, size, name)
        step = size / crop[1]
        K = np.diag([step, step, 1.0]) @ np.array(facts.K)
        labels = facts.arrays()
        if "joints_2d" in labels:
            labels["joints_2d"] = labels["joints_2d"] * step
        mask = None if "mask.png" not in sample else _decode(sample["mask.png"], cv2.IMREAD_GRAYSCALE, size, name)[0]
        behind = sample.get("background.jpg", sample.get("plate.jpg"))  # its name in shards of older versions
        background = None if behind is None else _decode(behind, cv2.IMREAD_COLOR, size, name)[0]
        return Record(crop[0], K, facts.person, mask, background, facts.meta, labels)

    # ---- shards ----

    def _shard(self, number: int) -> _Shard:
        if number not in self._loaded:
            self._loaded[number] = self._load(number)
            if len(self._loaded) > 2 * self._lanes:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(number)
        return self._loaded[number]

    def _load(self, number: int) -> _Shard:
        path = self.folder / self._names[number]
        expected = self._digests.pop(number, None)  # compared once
        if expected is not None and path.is_file() and file_digest(path) != expected:
            raise FatalInputError(f"{path}: was altered after it was written; {_REMEDY.format(folder=self.folder)}")
        samples = [{k: v for k, v in s.items() if isinstance(v, bytes)} for s in _stream(path)]
        if len(samples) != self._counts[number]:
            raise InputError(
                f"{path}: holds {len(samples)} samples, {LISTING} says {self._counts[number]}; copy it again"
            )
        facts: list[_Sample] = []
        people: dict[str, list[int]] = {}
        for position, sample in enumerate(samples):
            try:
                facts.append(_Sample.model_validate(parse_json(sample["json"])))
                facts[-1].arrays()
            except (KeyError, ValueError) as error:
                raise InputError(
                    f"{path}: damaged shard (sample {position}: {first_fault(error)}); write it again"
                ) from error
            people.setdefault(facts[-1].person, []).append(position)
        return _Shard(samples, facts, people)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": OrderedDict()}  # workers read for themselves


def altered_shards(folder: str | Path) -> tuple[dict[Path, str | None], dict[Path, str]]:
    """Compare every shard with the checksum that was written beside it.

    Returns:
        Shard -> its checksum (None where an older version wrote none), and shard -> what is wrong.

    Raises:
        InputError: no finished shards there.
    """
    shards = {Path(folder) / shard.name: shard.sha256 for shard in _read_listing(Path(folder)).shards}
    faults = {}
    for path, digest in shards.items():
        if not path.is_file():
            faults[path] = "missing"
        elif digest is not None and file_digest(path) != digest:
            faults[path] = "altered after it was written"
    return shards, faults


def lanes_of(samples_per_step: int, split_by: int, shards: int) -> int:
    """How many lanes a step is cut into: 8 where everything divides, so that the process count does not matter.

    Raises:
        InputError: fewer shards than ranks times micro-batches: some would read the same ones.
    """
    if shards < split_by:
        raise InputError(f"{shards} shards are too few for {split_by} parts of a step; write smaller shards")
    if shards >= _LANES and samples_per_step % _LANES == 0 and _LANES % split_by == 0:
        return _LANES
    return split_by


class _Epoch:
    """Which shards each lane reads in one epoch, in which order, and the order inside them."""

    def __init__(self, number: int, counts: np.ndarray, lanes: int) -> None:
        self._number, self._counts = number, counts
        order = _generator(number, 0).permutation(len(counts))
        self._shards = [order[lane::lanes] for lane in range(lanes)]
        self._ends = [np.cumsum(counts[shards]) for shards in self._shards]
        self.lengths = [int(ends[-1]) for ends in self._ends]
        self._inside: OrderedDict[int, np.ndarray] = OrderedDict()

    def sample(self, lane: int, place: int) -> tuple[int, int]:
        turn = int(np.searchsorted(self._ends[lane], place, side="right"))
        shard = int(self._shards[lane][turn])
        if shard not in self._inside:
            self._inside[shard] = _generator(self._number, shard + 1).permutation(self._counts[shard])
            if len(self._inside) > 64:
                self._inside.popitem(last=False)
        start = int(self._ends[lane][turn] - self._counts[shard])
        return shard, int(self._inside[shard][place - start])


def _generator(epoch: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[0x5A4D, epoch * 1_000_003 + stream]))


def _stream(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of one shard, front to back."""
    wds = webdataset_library(path)
    if not path.is_file():
        raise InputError(f"{path}: no such shard; copy it again")
    try:
        # Opened here: the library takes names for URLs, expands braces and runs what follows "pipe:".
        yield from wds.tariterators.group_by_keys(_members(path))
    except Exception as error:  # tarfile and the library raise whatever a damaged archive leads them to
        raise InputError(f"{path}: damaged shard ({type(error).__name__}: {error}); copy it again") from error


class _Listed(BaseModel):
    name: Annotated[str, AfterValidator(lambda name: clean_component(name, "name of a shard"))]
    samples: int = Field(ge=1, le=10_000_000)
    sha256: str | None = Field(default=None, max_length=64)  # absent in shards of older versions


class _Listing(BaseModel):
    """shards.json."""

    format: Literal[1]  # shards_write.FORMAT
    dataset: str = Field(max_length=200)
    size: int = Field(ge=1, le=16384)
    notes: dict[str, str] = {}
    shards: list[_Listed] = Field(min_length=1, max_length=1_000_000)


_Number = Annotated[float, Field(ge=-1e9, le=1e9)]
_Row = Annotated[list[_Number | None], Field(max_length=3)]


class _Labels(BaseModel):
    joints_3d: Annotated[list[_Row], Field(min_length=NUM_JOINTS, max_length=NUM_JOINTS)] | None = None
    joints_2d: Annotated[list[_Row], Field(min_length=NUM_JOINTS, max_length=NUM_JOINTS)] | None = None
    confidence: Annotated[list[_Number | None], Field(min_length=NUM_JOINTS, max_length=NUM_JOINTS)] | None = None


class _Sample(BaseModel):
    """KEY.json of a sample."""

    person: str = Field(max_length=1000)
    K: tuple[tuple[_Number, _Number, _Number], tuple[_Number, _Number, _Number], tuple[_Number, _Number, _Number]]
    meta: dict[str, str | int | float | bool | None] = Field(default={}, max_length=100)
    labels: _Labels = _Labels()

    def arrays(self) -> dict[str, np.ndarray]:
        """The labels that are known: (17, 3), (17, 2) and (17,) float64, NaN where a number is null.

        Raises:
            ValueError: rows of other lengths.
        """
        known = {name: np.array(value, dtype=np.float64) for name, value in self.labels if value is not None}
        for name, width in (("joints_3d", 3), ("joints_2d", 2)):
            if name in known and known[name].shape != (NUM_JOINTS, width):
                raise ValueError(f"{name} has shape {known[name].shape}")
        return known


def _read_listing(folder: Path) -> _Listing:
    path = folder / LISTING
    try:
        listing = _Listing.model_validate(parse_json(read_within(path).decode()))
        for shard in listing.shards:  # a sample takes two headers and two blocks of 512 bytes at least
            file = folder / shard.name
            if file.is_file() and shard.samples * 2048 > file.stat().st_size:
                raise ValueError(f"{shard.name} cannot hold {shard.samples} samples in {file.stat().st_size} bytes")
        return listing
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: no finished shards ({first_fault(error)}); write them with selfsup3d prepare-data --shards"
        ) from error


def _members(path: Path) -> Iterator[dict[str, Any]]:
    """Files of a tar archive, each no larger than the archive: sparse ones would unfold to any size."""
    total = path.stat().st_size
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if member.issparse() or member.size > total:
                raise ValueError(f"{member.name} declares {member.size} bytes in an archive of {total}")
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                yield {"fname": member.name, "data": file.read(), "__url__": str(path)}
            archive.members = []  # type: ignore[attr-defined] # tarfile would keep every header


def _decode(data: bytes | None, flag: int, size: int, name: str) -> tuple[np.ndarray, int]:
    """An image at (size, size), RGB or grey, and the size it was stored at."""
    with silent():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    if image is None or image.shape[0] != image.shape[1]:
        raise InputError(f"{name}: an image cannot be decoded")
    stored = image.shape[0]
    if stored != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image, stored


def _images(images: list[np.ndarray | None]) -> torch.Tensor | None:
    """(S, S[, 3]) uint8 -> (B, 1 or 3, S, S) float32 in [0, 1]; None where one is missing."""
    if any(image is None for image in images):
        return None
    stacked = torch.from_numpy(np.stack(images))  # type: ignore[arg-type]
    stacked = stacked[..., None] if stacked.dim() == 3 else stacked
    return stacked.permute(0, 3, 1, 2).contiguous().float().mul_(1.0 / 255.0)


def _batch(target: list[Record], source: list[Record], labels: bool, dataset: str) -> Batch:
    fields: dict[str, Any] = {}
    for name, records in (("target", target), ("source", source)):
        fields[name] = _images([r.crop for r in records])
        fields[f"{name}_saliency"] = _images([r.saliency for r in records])
        fields[f"{name}_background"] = _images([r.background for r in records])
    if labels:
        for name in ("joints_3d", "joints_2d", "confidence"):
            if all(name in r.labels for r in target):
                fields[name] = torch.from_numpy(np.stack([r.labels[name] for r in target]).astype(np.float32))
    return Batch(
        K=torch.from_numpy(np.stack([r.K for r in target]).astype(np.float32)),
        meta=tuple({"dataset": dataset, **r.meta, "person": r.person} for r in target),
        **fields,
    )
