"""Latency predictor that sums block latencies and is calibrated on whole networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from edgenas.blas import one_blas_thread
from edgenas.errors import TableError, UserError, explained, shown
from edgenas.files import read_json, write_json
from edgenas.latency.block_cost import BlockCosts, PaperCosts
from edgenas.latency.block_cost_json import blocks_from_json, blocks_to_json
from edgenas.latency.calibration import MIN_NETWORKS, Calibration, calibration_folds, fit_calibration
from edgenas.latency.gene_table import GeneTable
from edgenas.latency.network_features import (
    block_values,
    n_features,
    network_features,
    paper_values,
    quantity_values,
    weighted_sums,
)
from edgenas.latency.table import LatencyTable
from edgenas.latency.table_classes import table_space
from edgenas.records.latency import Identity
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.space import ClassifierSpace, Genes, SearchSpace

Floats = npt.NDArray[np.float64]
Archs = Sequence[Arch] | Genes
"""Architectures, or their canonical gene matrix, shape (n, genes)."""
LAYOUT = 6
"""Version of a saved predictor; raised whenever the fitted values change."""
REFIT_ADVICE = (
    "delete latency/result.json in the run folder, then run `edgenas profile` to fit it again from the stored "
    "measurements"
)
PositiveInt = Annotated[int, Field(gt=0, strict=True)]


class LatencyPredictor:
    """Predictor of the p50 latency of a space's networks on the device of a table.

    Attributes:
        space_: space of the predicted networks, with their number of classes.
        identity_: identity of the table. Predictions hold for its device, runtime, precision and graph variant.
        blocks_: latencies of single blocks.
        fold_blocks_: latencies of blocks fitted without each fold; empty if they do not depend on measured networks.
        base_: calibration of the base predictor of another device, which is applied first; None without a base.
        calibration_: calibration on whole networks; None if the table has no networks of this space.
        calibrated_: whether there is a calibration. Without it, a prediction is the plain sum of block latencies, which
            has a systematic error, and there are no intervals.
    """

    space_: ClassifierSpace
    identity_: Identity
    blocks_: BlockCosts | PaperCosts
    fold_blocks_: tuple[PaperCosts, ...]
    base_: Calibration | None
    calibration_: Calibration | None
    calibrated_: bool

    def __init__(self, space: SearchSpace) -> None:
        """Store the space. If it has no number of classes, `fit` takes that of the table's networks."""
        self.space = space

    @one_blas_thread()
    def fit(self, table: LatencyTable, base: LatencyPredictor | None = None) -> LatencyPredictor:
        """Fit to a table's blocks and to its networks of this space.

        Without blocks in the table, network latencies are regressed on the computed costs of their blocks.

        Args:
            table: latency table of the device.
            base: predictor of another device or setting, to calibrate on a table of few networks (about ten).

        Raises:
            TableError: the table has neither blocks nor networks of this space, the numbers of classes differ, or the
                base is for another space.
        """
        space = self.space
        self.space_ = space if isinstance(space, ClassifierSpace) else table_space(space, table)
        self.identity_ = table.identity
        rows = table.networks(self.space_.structure_id, self.space_.num_classes)
        archs, p50_us = [self.space.parse(row.key) for row in rows], np.array([row.p50_us for row in rows])
        blocks = {key: row.p50_us for key, row in table.blocks().items()}
        if base is not None:
            self._check_base(base)
            self._set(base.blocks_, base=base.calibration_)
        elif blocks:
            self._set(BlockCosts.fit(blocks))
        elif len(archs) >= MIN_NETWORKS:
            self._set(self._paper_costs(archs, p50_us))
        else:
            raise TableError(
                f"the table of {table.identity.device} has no blocks and only {len(archs)} networks of "
                f"{self.space.structure_id} with {self.space_.num_classes} classes: run `edgenas profile RUN`"
            )
        return self._calibrate(archs, p50_us) if archs else self

    def refit(self, archs: Sequence[Arch], p50_us: Floats) -> LatencyPredictor:
        """Return a predictor fitted to these networks instead of those of the table.

        Measured blocks and a base are kept. Latencies of blocks that come from whole networks are fitted again.

        Args:
            archs: networks of the space, at least two.
            p50_us: measured microseconds, shape (n,).

        Raises:
            TableError: there are fewer than two networks.
        """
        refitted = LatencyPredictor(self.space_)
        refitted.space_, refitted.identity_ = self.space_, self.identity_
        from_networks = isinstance(self.blocks_, PaperCosts) and self.base_ is None
        refitted._set(self._paper_costs(archs, p50_us) if from_networks else self.blocks_, base=self.base_)
        # The values of blocks do not depend on measured networks.
        refitted._table = self._table
        return refitted._calibrate(archs, p50_us)

    def _calibrate(self, archs: Sequence[Arch], p50_us: Floats) -> LatencyPredictor:
        fold_features = None
        # A fold's networks must not influence the costs that they are predicted from.
        if isinstance(self.blocks_, PaperCosts) and self.base_ is None:
            folds = calibration_folds(p50_us)
            self.fold_blocks_ = tuple(
                self._paper_costs(list(compress(archs, folds != fold)), p50_us[folds != fold])
                for fold in range(folds.max() + 1)
            )
            fold_features = list(self._fold_features(archs))
        self.calibration_ = fit_calibration(self.features(archs), p50_us, fold_features)
        self.calibrated_ = True
        return self

    def _paper_costs(self, archs: Sequence[Arch], p50_us: Floats) -> PaperCosts:
        networks = [self.space_.unroll(arch) for arch in archs]
        return PaperCosts.fit(np.array([paper_values(specs).sum(axis=0) for specs in networks]), p50_us)

    def _check_base(self, base: LatencyPredictor) -> None:
        actual, expected = ((space.structure_id, space.num_classes) for space in (base.space_, self.space_))
        if actual != expected:
            raise TableError(
                f"the base predictor is for space {actual[0]} with {actual[1]} classes, "
                f"expected {expected[0]} with {expected[1]} classes"
            )

    def _set(
        self,
        blocks: BlockCosts | PaperCosts,
        fold_blocks: tuple[PaperCosts, ...] = (),
        base: Calibration | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.blocks_, self.fold_blocks_, self.base_, self.calibration_ = blocks, fold_blocks, base, calibration
        self.calibrated_ = calibration is not None
        self._table: GeneTable | None = None

    @one_blas_thread()
    def predict(self, archs: Archs) -> Floats:
        """Return the predicted p50 in microseconds, shape (n,).

        Raises:
            TableError: a block is neither measured nor inside the measured range.
        """
        features = self.features(archs)
        return _require_finite(features[:, 0] if self.calibration_ is None else self.calibration_.predict(features))

    @one_blas_thread()
    def interval(self, archs: Archs, coverage: float) -> Floats:
        """Return the prediction interval of the measured p50 in microseconds, shape (n, 2).

        Raises:
            TableError: there is no calibration, or its networks are too few for this coverage.
        """
        return _require_finite(self._calibration().interval(self._each_features(archs), coverage))

    @one_blas_thread()
    def upper(self, archs: Archs, risk: float) -> Floats:
        """Return the bound that the measured p50 exceeds with probability `risk`, microseconds, shape (n,).

        Raises:
            TableError: there is no calibration, or its networks are too few for this risk.
        """
        return _require_finite(self._calibration().upper(self._each_features(archs), risk))

    def _calibration(self) -> Calibration:
        if self.calibration_ is None:
            raise TableError(
                f"no network of {self.space.structure_id} with {self.space_.num_classes} classes was measured, so the "
                "prediction is a plain sum without an interval: run `edgenas profile RUN`"
            )
        return self.calibration_

    def features(self, archs: Archs) -> Floats:
        """Return the calibration's features of networks, see `network_features`; shape (n, features).

        Raises:
            TableError: a block is neither measured nor inside the measured range.
        """
        genes = self._genes(archs)
        sums = self._sums(genes)
        if isinstance(self.blocks_, PaperCosts):
            sums = weighted_sums(sums, self.blocks_.coefficients_us)
        elif len(missing := np.flatnonzero(np.isnan(sums[:, 0]))):
            first = self.space.decode(genes[missing[:1]])[0]
            self.blocks_.require(self.space_.unroll(first))
        features = network_features(sums, self._resolution(genes))
        if self.base_ is not None:
            features[:, 0] = self.base_.predict(features)
        return features

    def _each_features(self, archs: Archs) -> Floats | Iterator[Floats]:
        """Return features for each fold's fit if block latencies depend on the fold, else one array for all folds."""
        return self._fold_features(archs) if self.fold_blocks_ else self.features(archs)

    def _fold_features(self, archs: Archs) -> Iterator[Floats]:
        genes = self._genes(archs)
        quantities, resolution = self._sums(genes), self._resolution(genes)
        return (
            network_features(weighted_sums(quantities, fold.coefficients_us), resolution) for fold in self.fold_blocks_
        )

    def _genes(self, archs: Archs) -> Genes:
        return archs if isinstance(archs, np.ndarray) else self.space.encode(archs)

    def _resolution(self, genes: Genes) -> npt.NDArray[np.int64]:
        return np.asarray(self.space.resolution)[genes[:, 0]]

    def _sums(self, genes: Genes) -> Floats:
        """Return sums of `quantity_values` over networks' blocks for `PaperCosts`, else sums of `block_values`."""
        if self._table is None:
            self._table = GeneTable.of(self.space_, self._block_values)
        return self._table.sums(genes)

    def _block_values(self, blocks: Sequence[BlockSpec]) -> Floats:
        if isinstance(self.blocks_, PaperCosts):
            return quantity_values(blocks, len(self.space.stages))
        return block_values(blocks, self.blocks_.estimate_us(blocks), len(self.space.stages))

    def save(self, path: Path) -> None:
        """Write the fitted values as JSON."""
        value = {
            "layout": LAYOUT,
            "space": self.space.structure_id,
            "num_classes": self.space_.num_classes,
            "identity": asdict(self.identity_),
            "blocks": blocks_to_json(self.blocks_, self.fold_blocks_),
            "base": self.base_.to_json() if self.base_ else None,
            "calibration": self.calibration_.to_json() if self.calibration_ else None,
        }
        write_json(path, value)

    def _check_folds(self) -> None:
        refits = 0 if self.calibration_ is None else len(self.calibration_.fold_weights)
        if len(self.fold_blocks_) not in (0, refits):
            raise ValueError(f"expected coefficients of {refits} folds, got {len(self.fold_blocks_)}")

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> LatencyPredictor:
        """Read the output of `save`.

        Raises:
            TableError: the file is missing or malformed, or was fitted for another space.
        """
        try:
            value = read_json(path, REFIT_ADVICE)
            if value.get("layout") != LAYOUT:
                raise ValueError(f"layout is {shown(value.get('layout'))}, expected {LAYOUT}")
            if value["space"] != space.structure_id:
                raise TableError(f"{path}: fitted for space {shown(value['space'])}, expected {space.structure_id}")
            predictor = cls(space)
            predictor.space_ = space.with_classes(TypeAdapter(PositiveInt).validate_python(value["num_classes"]))
            predictor.identity_ = TypeAdapter(Identity).validate_python(value["identity"])
            calibrations = [
                None if value[name] is None else Calibration.from_json(value[name], n_features(len(space.stages)))
                for name in ("base", "calibration")
            ]
            predictor._set(*blocks_from_json(value["blocks"]), *calibrations)
            predictor._check_folds()
        except UserError as error:
            raise TableError(str(error)) from None
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            cause = explained(error.errors()) if isinstance(error, ValidationError) else error
            raise TableError(
                f"{path} is not a saved latency predictor ({cause}): delete it and {REFIT_ADVICE}"
            ) from None
        return predictor


def _require_finite(latency_us: Floats) -> Floats:
    if not np.isfinite(latency_us).all():
        raise TableError(f"the latency predictor gave latencies that are not finite numbers: {REFIT_ADVICE}")
    return latency_us
