"""Handwritten digits as a world: a real classification task whose true policy values are known."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import first, read_only
from ..checks import check_number, check_seed
from .asked import contexts
from .base import World


class DigitsWorld(World):
    """Scikit-learn's handwritten digits as a bandit: show one of ten classes, earn 1 if correct.

    The context is an image of 8 x 8 pixels, scaled to [0, 1]; an item is a class, and its features
    are one-hot, since a class has no other. The label makes every expected reward known, 1 for the
    image's class and 0 for the others, while a log tells it of one class an image. Rows of the data
    set serve one of three ends: to fit the classifier of the logging policy, as contexts of logs,
    or as contexts of evaluation.

    The logging policy is that of ``obp``'s reduction of classification to bandits, ``α`` times
    what a classifier predicts plus ``1 − α`` times uniform, with a logistic regression fitted to
    few images.

    Parameters
    ----------
    alpha : float in [0, 1)
        Weight of the classifier in the logging policy; at 0 it is uniform.
    n_classifier_rows : int, at least 10
        Number of labelled images that the logging policy's classifier is fitted to: with the 50 of
        the default, it is right about four times in five.
    n_eval_contexts : int, at least 1
        Number of images on which policy values are computed.
    random_state : int
        Fixes which image serves which end.

    Attributes
    ----------
    action_context : array of shape (10, 10)
        One-hot classes.
    eval_context : array of shape (n_eval_contexts, 64)
        The images of evaluation.
    log_context : array of shape (1797 - n_classifier_rows - n_eval_contexts, 64)
        The images of logs. A log draws from them with replacement, so it may be of any length, but
        a long one shows each image many times. Its `user_id` is the image's row number here: an
        image that comes back is like a visitor who does, and no evidence about other images.

    See Also
    --------
    BanditFeedback.from_obp : takes the log of ``obp.dataset.MultiClassToBanditReduction`` itself,
        with ``action_context=np.eye(10)``.

    References
    ----------
    Dudík, Langford and Li, "Doubly robust policy evaluation and learning", ICML 2011, section 4.1
    (classification as a bandit); Alpaydin and Kaynak, "Optical recognition of handwritten digits",
    UCI Machine Learning Repository 1998 (the data).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.DigitsWorld(alpha=0.5)
    >>> world.sample(1000, random_state=0)
    BanditFeedback(1,000 rounds, 10 items, mean reward 0.438,
                   64 context features, 10 item features, user_id)
    >>> {name: round(value, 1) for name, value in world.reference_values().items()}
    {'logging': 0.4, 'uniform': 0.1, 'best_constant_item': 0.1, 'optimum': 1.0}
    """

    def __init__(
        self,
        alpha: float = 0.5,
        n_classifier_rows: int = 50,
        n_eval_contexts: int = 600,
        random_state: int = 0,
    ) -> None:
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression

        check_number("alpha", alpha, least=0)
        if alpha >= 1:
            raise ValueError(
                f"alpha must be in [0, 1); got {alpha}. At 1 the log has no support outside one "
                "class per image."
            )
        check_number("n_classifier_rows", n_classifier_rows, Integral, least=10)
        check_number("n_eval_contexts", n_eval_contexts, Integral, least=1)
        check_seed(random_state)
        images, labels = load_digits(return_X_y=True)
        n_used = n_classifier_rows + n_eval_contexts
        if n_used >= len(images):
            raise ValueError(
                f"n_classifier_rows + n_eval_contexts is {n_used}, which leaves no image for logs: "
                f"there are {len(images)}."
            )
        self.alpha, self.n_classifier_rows = float(alpha), int(n_classifier_rows)
        self.random_state = random_state
        images = images / 16
        keys = [image.tobytes() for image in images]
        self._label_of = dict(zip(keys, labels.tolist(), strict=True))

        rng = np.random.default_rng(random_state)
        order = rng.permutation(len(images))
        fitted, evaluated, logged = np.split(order, [n_classifier_rows, n_used])
        self.log_context = read_only(images[logged])
        classifier = LogisticRegression(max_iter=1000).fit(images[fitted], labels[fitted])
        logging_policy = _ClassifierAndUniform(float(alpha), classifier)
        super().__init__(np.eye(10), images[evaluated], logging_policy, int(rng.integers(2**32)))

    def __repr__(self) -> str:
        return (
            f"DigitsWorld(alpha={self.alpha:g}, n_classifier_rows={self.n_classifier_rows}, "
            f"n_eval_contexts={len(self.eval_context)}, random_state={self.random_state})"
        )

    def draw_context(self, n_rounds: int, rng: np.random.RandomState) -> np.ndarray:
        """Images of `log_context`, with replacement."""
        return self.log_context[rng.randint(len(self.log_context), size=n_rounds)]

    def users_of(self, context: np.ndarray) -> np.ndarray:
        """Each image's row number in `log_context`."""
        number = {image.tobytes(): row for row, image in enumerate(self.log_context)}
        context = np.asarray(contexts(context, self.dim_context), dtype=np.float64)
        users = np.array([number.get(image.tobytes(), -1) for image in context])
        if (users < 0).any():
            raise ValueError(f"context: row {first(users < 0)[0]} is no row of log_context.")
        return users

    def reward_probability(self, context: np.ndarray) -> np.ndarray:
        """1 for the image's class, else 0."""
        return np.eye(10)[[self._label(row, image) for row, image in enumerate(context)]]

    def _label(self, row: int, image: np.ndarray) -> int:
        label = self._label_of.get(np.asarray(image, dtype=np.float64).tobytes())
        if label is None:
            raise ValueError(
                f"context: row {row} is no image of this data set, so its class is not known. "
                "Take rows of eval_context, log_context or a log, unchanged."
            )
        return label


@dataclass(frozen=True)
class _ClassifierAndUniform:
    """Show the class that a classifier predicts with weight `alpha`, else one at random."""

    alpha: float
    classifier: Any

    def __call__(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        n_actions = len(action_context)
        pi = np.full((len(context), n_actions), (1 - self.alpha) / n_actions)
        pi[np.arange(len(pi)), self.classifier.predict(context)] += self.alpha
        return pi
