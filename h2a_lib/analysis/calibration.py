"""What turns a network's outputs into statements: interval, temperature, threshold of the sex."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic_core import to_json

from h2a_lib.analysis.selection import predictions_of
from h2a_lib.analysis.sex.calibration import Temperature
from h2a_lib.analysis.sex.errors import choose_threshold
from h2a_lib.analysis.statistics import conformal
from h2a_lib.study.runs import CALIBRATION, Run


@dataclass(frozen=True)
class Calibration:
    """What is fitted on a run's selection hands; None where the run does not estimate it.

    From a calibrated probability of `threshold` on a hand is called male.
    """

    interval: conformal.SplitConformal | conformal.ConformalQuantiles | None
    temperature: Temperature | None
    threshold: float = 0.5

    @classmethod
    def of(cls, run: Run) -> "Calibration":
        """Fit on a run's selection hands; of a released network, read what was fitted."""
        if run.is_released:
            return TypeAdapter(cls).validate_json((run.folder / CALIBRATION).read_bytes())
        selection = predictions_of(run, "selection")
        intervals = (
            conformal.ConformalQuantiles
            if conformal.has_quantiles(selection)
            else conformal.SplitConformal
        )
        temperature = Temperature.fit(selection) if run.config.estimates_sex else None
        return cls(
            intervals.fit(selection) if run.config.estimates_age else None,
            temperature,
            choose_threshold(temperature.calibrate(selection)) if temperature else 0.5,
        )

    def as_json(self) -> bytes:
        """Return it as `of` reads it."""
        # JSON has no infinity, and the error of few hands is infinite.
        return to_json(self, indent=2, inf_nan_mode="strings")

    def ages(self, outputs: dict[str, NDArray]) -> tuple[NDArray, NDArray, NDArray]:
        """Return estimates, none negative, and ends of intervals that contain them, (n,) each.

        `outputs` are those of `h2a_lib.models.inference.Predictor.predict`.
        """
        # A network without bounds may go below birth; an age does not.
        months = np.maximum(outputs["predicted_age_months"], 0)
        if isinstance(self.interval, conformal.ConformalQuantiles):
            low, high = self.interval.interval(outputs[conformal.LOW], outputs[conformal.HIGH])
        else:
            assert self.interval is not None, "of a run that estimates age"
            low, high = self.interval.interval(months)
        return months, np.minimum(low, months), np.maximum(high, months)
