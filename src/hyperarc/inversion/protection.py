"""What a stored template may be turned into before it is stored, so that an attack can be measured with and without.

Cancelable biometrics (Ratha, Connell and Bolle, IBM Systems Journal 40, 2001) store a transformed template and compare
transformed ones. ISO/IEC 24745 asks three things of it: irreversibility (nobody gets the template back), unlinkability
(nobody can tell that templates in two databases are of one person) and renewability (another one can be issued where
one was stolen). What stands here is what is commonly done, not what meets all three: a keyed rotation meets them while
the key is secret, and none of them once it is not; the others have no key at all.

A template that is encrypted where it lies gives whoever steals it nothing to attack, and has no kind here; it must be
decrypted to be compared, so that it protects against a stolen disk, not against who reads the memory.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError, UsageError
from hyperarc.inversion.synthesis import turned
from hyperarc.metrics.inputs import FloatArray, as_array, embedding_matrix

Templates = npt.NDArray[np.float32]


class Protection(Protocol):
    """Turns templates into what is stored of them; cosines of two that were turned alike are what is compared."""

    @property
    def name(self) -> str:
        """What to call it in a table."""

    def __call__(self, templates: Any) -> Templates:
        """[N, d] of any length but 0 to unit vectors [N, d]."""


@dataclass(frozen=True)
class Plain:
    """The template as it is.

    Example:
        >>> Plain()([[3.0, 4.0]]).round(1).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    name: str = "none"

    def __call__(self, templates: Any) -> Templates:
        """Unit vectors."""
        return np.asarray(embedding_matrix(templates, "templates"), np.float32)


@dataclass(frozen=True)
class Rotation:
    """All templates turned by one secret orthogonal matrix; cosines among them stay as they are.

    Random orthonormal projection with a user's token is BioHashing (Jin, Ling and Goh, Pattern Recognition 37, 2004),
    here without its thresholds and with one key for the database. The matrix is drawn from the Haar measure: QR of a
    Gaussian one, columns with the signs of R's diagonal (Mezzadri, Notices of the AMS 54, 2007). The Gaussian numbers
    are Box and Muller's of SHAKE-256, its seed the key through scrypt (RFC 7914), so that they are the same whatever
    library draws random numbers, and a short key costs whoever tries them all.

    It is linear: whoever has the key turns everything back, and whoever has as many pairs of plain and stored templates
    as templates have dimensions finds it (:func:`recover_rotation`).

    Args:
        key: secret, at least 8 bytes.
        name: in tables.

    Raises:
        UsageError: a shorter key.

    Example:
        >>> stored = Rotation(b"a secret of ours")([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
        >>> round(float(stored[0] @ stored[1]), 4), round(abs(float(stored[0] @ [1.0, 0.0, 0.0])), 1) < 1
        (0.6, True)
    """

    key: bytes = field(repr=False)
    name: str = "rotation"

    def __post_init__(self) -> None:
        if len(self.key) < 8:
            mend = "take secrets.token_bytes(32)"
            raise UsageError(f"expected a key of at least 8 bytes, got {len(self.key)}", mend=mend)

    def matrix(self, dimension: int) -> FloatArray:
        """The orthogonal matrix [d, d]; stored templates are its product with plain ones."""
        seed = hashlib.scrypt(self.key, salt=b"hyperarc rotation", n=2**14, r=8, p=1, dklen=32)
        count = dimension * dimension
        stream = np.frombuffer(hashlib.shake_256(seed).digest(16 * count), "<u8").reshape(2, count)
        uniform = ((stream >> 11).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1), as exact as float64 is
        normal = np.sqrt(-2.0 * np.log(uniform[0])) * np.cos(2.0 * math.pi * uniform[1])
        q, r = np.linalg.qr(normal.reshape(dimension, dimension))
        return np.asarray(q * np.where(np.diagonal(r) < 0, -1.0, 1.0))

    def __call__(self, templates: Any) -> Templates:
        """Turned unit vectors."""
        units = embedding_matrix(templates, "templates").astype(np.float64)
        return np.asarray(units @ self.matrix(units.shape[1]).T, np.float32)


@dataclass(frozen=True)
class Signs:
    """One bit a dimension: the sign of each value, a 32nd of the room; no secret is in it.

    Example:
        >>> Signs()([[0.9, -0.1, 0.2, 0.3]]).tolist()
        [[0.5, -0.5, 0.5, 0.5]]
    """

    name: str = "signs"

    def __call__(self, templates: Any) -> Templates:
        """-1 or 1 by the root of the dimension; 0 counts as positive."""
        units = embedding_matrix(templates, "templates")
        return np.asarray(np.where(units < 0, -1.0, 1.0) / math.sqrt(units.shape[1]), np.float32)


@dataclass(frozen=True)
class Noise:
    """Each template turned by an angle, in a direction of its own.

    Args:
        angle_deg: 0 to 180; seed: of the directions.

    Example:
        >>> round(float((Noise(60)([[1.0, 0.0, 0.0]]) @ [1.0, 0.0, 0.0])[0]), 3)
        0.5
    """

    angle_deg: float
    seed: int = 0

    @property
    def name(self) -> str:
        """With its angle."""
        return f"noise {self.angle_deg:g}°"

    def __call__(self, templates: Any) -> Templates:
        """Unit vectors at the angle."""
        return turned(embedding_matrix(templates, "templates"), self.angle_deg, self.seed).numpy()


@dataclass(frozen=True)
class Truncation:
    """Only the first so many values are stored; the others count as 0.

    Args:
        kept: values.

    Raises:
        DataError: templates of fewer values.

    Example:
        >>> Truncation(2)([[0.0, 3.0, 5.0]]).tolist()
        [[0.0, 1.0, 0.0]]
    """

    kept: int

    @property
    def name(self) -> str:
        """With its number of values."""
        return f"{self.kept} values"

    def __call__(self, templates: Any) -> Templates:
        """Unit vectors, 0 beyond the kept values."""
        given: FloatArray = as_array(templates, "templates").astype(np.float64)
        if given.ndim != 2 or not 1 <= self.kept <= given.shape[1]:
            raise DataError(f"expected templates [N, d] of at least {self.kept} values, got {list(given.shape)}")
        cut = np.where(np.arange(given.shape[1]) < self.kept, given, 0.0)
        return np.asarray(embedding_matrix(cut, "truncated templates"), np.float32)


def recover_rotation(plain: Any, stored: Any) -> FloatArray:
    """The rotation that best turns plain templates into stored ones: the attack by known pairs.

    Orthogonal Procrustes problem (Schönemann, Psychometrika 31, 1966): U V' of the singular value decomposition of
    stored' plain. Exact as soon as the plain templates span their space; with fewer it is right within their span.

    Args:
        plain, stored: [n, d] templates of the same faces, before and after.

    Returns:
        [d, d] orthogonal; stored templates times it are plain ones.

    Raises:
        DataError: other shapes, NaN, zero rows.

    Example:
        >>> faces = np.eye(3) + 0.1
        >>> stored = Rotation(b"a secret of ours")(faces)
        >>> found = stored @ recover_rotation(faces, stored)
        >>> bool(np.allclose(found, Plain()(faces), atol=1e-6))
        True
    """
    before, after = (
        embedding_matrix(one, name).astype(np.float64) for one, name in ((plain, "plain"), (stored, "stored"))
    )
    if before.shape != after.shape:
        raise DataError(f"expected as many plain as stored templates, got {list(before.shape)} and {list(after.shape)}")
    left, _, right = np.linalg.svd(after.T @ before)
    return np.asarray(left @ right)
