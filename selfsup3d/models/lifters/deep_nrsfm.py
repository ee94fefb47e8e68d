"""Deep non-rigid structure from motion (Kong & Lucey 2019): hierarchical block-sparse coding as a network.

W = S M with S = D1 psi1, psi1 = D2 psi2, ...; M (3, 2) has orthonormal columns. The encoder runs the hierarchy with
every code block carrying the camera (Psi = psi (x) M), the decoder without; both use the same dictionaries.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import DeepNRSfMConfig
from selfsup3d.models.lifters.base import Lifter
from selfsup3d.models.modules.facing import Handedness, facing_cost
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["BlockCamera", "DeepNRSfM", "orthonormal_columns"]


def orthonormal_columns(matrix: Tensor) -> Tensor:
    """The matrix with orthonormal columns nearest to (..., 3, 2): U V^T of its SVD, as M (M^T M)^(-1/2).

    The root of the 2x2 matrix A has a closed form, (A + sqrt(det A) I) / sqrt(tr A + 2 sqrt(det A)), whose derivative is
    finite where the singular values are equal, unlike the SVD's. Columns that are (nearly) parallel give a result that
    is not orthonormal, and a finite gradient.
    """
    matrix = matrix.float()
    a = (matrix[..., :, :, None] * matrix[..., :, None, :]).sum(-3)  # (..., 2, 2) M^T M
    identity = torch.eye(2, dtype=a.dtype, device=a.device)
    a = a + 1e-8 * identity
    determinant = (a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]).clamp(min=1e-16).sqrt()
    trace = a[..., 0, 0] + a[..., 1, 1]
    root = (a + determinant[..., None, None] * identity) / (trace + 2 * determinant).sqrt()[..., None, None]
    # The inverse of a symmetric 2x2 matrix: its adjugate over its determinant (det root = sqrt det a).
    trace_root = (root[..., 0, 0] + root[..., 1, 1])[..., None, None]
    inverse = (trace_root * identity - root) / determinant[..., None, None]
    return (matrix[..., :, :, None] * inverse[..., None, :, :]).sum(-2)


class BlockCamera(nn.Module):
    """A camera M (3, 2) as a linear combination of code blocks: orthonormal columns of sum_k B_k Psi_k.

    Every block is a number times the camera, up to a rotation of the atom's axes, which B_k (3, 3) learns. Without a bias,
    and acting from the left only, rotating the image rotates the camera. A free linear layer does not train: its bias
    outweighs the blocks, the camera freezes, and codes explain the keypoints without any depth.

    Args:
        blocks: K.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.rotations = nn.Parameter(torch.randn(blocks, 3, 3) / (3 * blocks) ** 0.5)

    def forward(self, blocks: Tensor) -> Tensor:
        """(B, K, 3, 2) -> (B, 3, 2)."""
        return orthonormal_columns(torch.einsum("kde,bkec->bdc", self.rotations, blocks).float())


class DeepNRSfM(Lifter):
    """An auto-encoder of 2D poses whose bottleneck is a code and a camera.

    Args:
        settings: `threshold` is what makes codes sparse: "block" = the norm of each 3x2 block minus the threshold (the exact
            shrinkage of block sparsity, which leaves the camera in the blocks as it is), "relu" = every entry (a
            relaxation). `facing` is an anatomical prior, ours; 0 as in the paper, which allows mirrored alignments.
    """

    def __init__(self, settings: DeepNRSfMConfig) -> None:
        super().__init__(Normalizer("head", distance=1.0))
        self.settings = settings
        sizes = settings.sizes
        joints = NUM_JOINTS
        self.shapes = nn.Parameter(torch.randn(joints, 3, sizes[0]) * (2.0 / (3 * joints)) ** 0.5)
        self.dictionaries = nn.ParameterList(
            torch.randn(above, below) * (2.0 / above) ** 0.5 for above, below in itertools.pairwise(sizes)
        )
        self.thresholds = nn.ParameterList(torch.zeros(size) for size in sizes)
        self.decoder_thresholds = nn.ParameterList(torch.zeros(size) for size in sizes[:-1])
        self.code = nn.Linear(sizes[-1] * 6, sizes[-1])
        self.camera = BlockCamera(sizes[-1])
        self.handedness = Handedness()

    def estimate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes S (B, 17, 3), root at 0, and cameras M (B, 3, 2) with S M = the 2D pose."""
        blocks = torch.einsum("jdk,bjc->bkdc", self.shapes, points).float()  # (B, K, 3, 2)
        blocks = self._shrunk(blocks, self.thresholds[0])
        for dictionary, threshold in zip(self.dictionaries, self.thresholds[1:], strict=False):
            blocks = torch.einsum("ak,badc->bkdc", dictionary, blocks).float()
            blocks = self._shrunk(blocks, threshold)
        camera = self.camera(blocks)
        code = self.code(blocks.flatten(1)).relu()
        for dictionary, threshold in reversed(list(zip(self.dictionaries, self.decoder_thresholds, strict=True))):
            code = (code @ dictionary.T - threshold).relu()
        shape = torch.einsum("jdk,bk->bjd", self.shapes, code).float()
        return shape - shape[:, :1], camera

    def _shrunk(self, blocks: Tensor, threshold: Tensor) -> Tensor:
        """(B, K, 3, 2) made sparse by thresholds (K,)."""
        if self.settings.threshold == "relu":
            return (blocks - threshold[:, None, None]).relu()
        norm = (blocks.square().sum((-1, -2), keepdim=True) + 1e-12).sqrt()
        return blocks * (1.0 - threshold[:, None, None] / norm).relu()

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) camera axes, mirrored in depth if the whole model turned out so."""
        return self._seen(*self.estimate(observed.values), self.handedness.sign)

    def _seen(self, shape: Tensor, camera: Tensor, sign: Tensor) -> Tensor:
        """Shapes rotated into camera axes: the camera's columns are its right and down directions."""
        right, down = camera.unbind(-1)
        axes = torch.stack((right, down, sign * torch.linalg.cross(right, down)), -2)  # rows
        return (shape[:, :, None, :] * axes[:, None]).sum(-1)

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """|W - S M|_F / |W|_F over visible joints."""
        observed = self.observe(batch)
        shape, camera = self.estimate(observed.values)
        pose = self._seen(shape, camera, torch.ones_like(self.handedness.sign))
        self.handedness.update(pose)
        miss = (pose[..., :2] - observed.values) * observed.visible[..., None]
        size = (observed.values * observed.visible[..., None]).square().sum((-1, -2)).clamp(min=1e-8).sqrt()
        terms = {"reprojection": ((miss.square().sum((-1, -2)) + 1e-12).sqrt() / size).mean()}
        if self.settings.facing > 0:
            terms["facing"] = self.settings.facing * facing_cost(pose).mean()
        return terms
