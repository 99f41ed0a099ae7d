"""A selection that was ended loses the candidate in hand, and nothing else."""

import pandas as pd
import pytest

import opl_lib as opl

SMALL = {"epochs": 2, "hidden": (6,), "dim_embedding": 4}


class Ends(BaseException):
    """In the place of a signal."""


class Fragile(opl.OffPolicyLearner):
    """A learner that ends the process at its fits until it is told not to."""

    ends, n_fits = False, 0

    def fit(self, feedback, callback=None, checkpoint=None):
        type(self).n_fits += 1
        if self.ends:
            raise Ends
        return super().fit(feedback, callback)


@pytest.fixture
def log(small_world):
    return small_world.sample(600, random_state=1)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(Fragile, "ends", False)
    monkeypatch.setattr(Fragile, "n_fits", 0)


def candidates():
    return {
        "first": Fragile("ips", **SMALL),
        "fixed": opl.uniform(),
        "second": Fragile("regression", **SMALL),
    }


CALLS = {
    "learn": lambda log, **more: opl.learn(log, candidates(), n_folds=2, **more),
    "select": lambda log, **more: opl.select(
        candidates(), log, reward_model=opl.BilinearLearner(), temperatures=[1, 0], **more
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_goes_on_from_the_candidate_in_hand(log, tmp_path, name, monkeypatch):
    call, folder = CALLS[name], tmp_path / "kept"
    plain = call(log, checkpoint=tmp_path / "other")
    n_all = Fragile.n_fits
    assert n_all == (6 if name == "learn" else 2)

    def ends_at_second(self, feedback, callback=None, checkpoint=None):
        Fragile.n_fits += 1
        if self.objective == "regression":
            raise Ends
        return opl.OffPolicyLearner.fit(self, feedback, callback)

    with monkeypatch.context() as patch:
        patch.setattr(Fragile, "fit", ends_at_second)
        with pytest.raises(Ends):
            call(log, checkpoint=folder)
    Fragile.n_fits = 0
    found = call(log, checkpoint=folder)
    assert Fragile.n_fits == n_all // 2  # of the second candidate alone
    pd.testing.assert_frame_equal(found.table, plain.table)
    pd.testing.assert_frame_equal(found.report, plain.report)
    Fragile.ends = True
    assert call(log, checkpoint=folder).best == plain.best
    assert call(log, checkpoint=folder).table.equals(plain.table)


@pytest.mark.parametrize("name", CALLS)
def test_a_folder_of_another_log_is_refused(log, tmp_path, name):
    CALLS[name](log, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"the log was .*, and is"):
        CALLS[name](log[::-1], checkpoint=tmp_path)


def test_other_candidates_and_other_folds_are_refused(log, tmp_path):
    opl.learn(log, candidates(), n_folds=2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="n_folds was 2, and is 3"):
        opl.learn(log, candidates(), n_folds=3, checkpoint=tmp_path)
    other = {**candidates(), "second": Fragile("regression", **{**SMALL, "epochs": 3})}
    with pytest.raises(ValueError, match="candidate 'second' was"):
        opl.learn(log, other, n_folds=2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="must be a folder"):
        (tmp_path / "file").write_text("text")
        opl.learn(log, candidates(), checkpoint=tmp_path / "file")


def test_what_learn_finds_by_default_can_be_kept(log, tmp_path):
    found = [opl.learn(log, n_folds=2, checkpoint=folder) for folder in (tmp_path, tmp_path, None)]
    assert found[0].table.equals(found[1].table) and found[0].table.equals(found[2].table)
    assert found[0].best == found[1].best
