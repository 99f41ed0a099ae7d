"""Vowpal Wabbit's text as a log: what its lines mean, and lines that mean nothing."""

import numpy as np
import pytest

import opl_lib as opl

TEXT = """\
shared 'tag|User age:0.5 device=phone |Time hour=9
|Article topic=sport length:2
0:-1.5:0.8 |Article topic=news

shared |Time hour=9 |User device=phone age:0.5
0:0:0.25 'x|Article length:2 topic=sport
|Article topic=news


"""


def read(text, **settings):
    return opl.read_vw(text.splitlines(), **settings)


def test_an_example_is_a_round():
    log = read(TEXT)
    assert log.action.tolist() == [1, 0]
    assert log.reward.tolist() == [1.5, 0]
    assert log.pscore.tolist() == [0.8, 0.25]
    assert log.context.shape == (2, 32) and log.action_context.shape == (2, 32)


def test_features_are_told_apart_by_namespace_and_not_by_their_order():
    log = read(TEXT)
    np.testing.assert_array_equal(log.context[0], log.context[1])
    assert sorted(np.abs(log.context[0][log.context[0] != 0])) == [0.5, 1, 1]
    sport, news = log.action_context
    assert np.abs(sport).sum() == 3 and np.abs(news).sum() == 1
    other = read(TEXT.replace("|Time hour", "|Tide hour"), dim_context=512)
    same = read(TEXT, dim_context=512)
    assert not np.array_equal(other.context, same.context)


def test_a_namespace_weighs_its_features():
    weighed = read(TEXT.replace("|User", "|User:2"), dim_context=512).context
    log = read(TEXT, dim_context=512).context
    assert np.abs(weighed[0]).sum() == pytest.approx(np.abs(log[0]).sum() + 1.5)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "log.vw"
    path.write_text(TEXT)
    for source in (path, str(path)):
        np.testing.assert_array_equal(opl.read_vw(source).context, read(TEXT).context)
    with pytest.raises(FileNotFoundError):
        opl.read_vw(tmp_path / "none.vw")


def test_vowpal_wabbit_reads_the_same(tmp_path):
    """Its own parser sees as many examples, with the same labels."""
    vowpalwabbit = pytest.importorskip("vowpalwabbit")
    workspace = vowpalwabbit.Workspace("--cb_adf --quiet")
    seen = []
    for block in TEXT.strip().split("\n\n"):
        lines = workspace.parse([line for line in block.splitlines() if line])
        label = [each.get_label(vowpalwabbit.LabelType.CONTEXTUAL_BANDIT) for each in lines]
        seen.append([c for each in label for c in each.costs if 0 < c.probability])
        workspace.finish_example(lines)
    log = read(TEXT)
    costs = [each[0] for each in seen]
    np.testing.assert_allclose([-c.cost for c in costs], log.reward)
    np.testing.assert_allclose([c.probability for c in costs], log.pscore)
    workspace.finish()


def test_the_log_says_what_could_be_shown():
    mask = read(TEXT + "0:-1:0.5 |Article topic=news\n|Article topic=art\n").eligible.mask()
    assert mask.tolist() == [[True, True, False], [True, True, False], [False, True, True]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "source holds no example"),
        ('{"_label_cost": -1}', "line 1: '{.* has no |"),
        ("|A a\n|A b", "line 1: the example that begins here has no label"),
        ("0:-1:0.5 |A a\n0:-1:0.5 |A b", "line 2: the example has two labels"),
        ("0:-1 |A a\n|A b", "line 1: the label '0:-1' must be action:cost:probability"),
        ("0:x:0.5 |A a\n|A b", "line 1: the label '0:x:0.5' must be"),
        ("0:-1:0 |A a\n|A b", "line 1: the label '0:-1:0' must have .* probability in"),
        ("0:nan:0.5 |A a\n|A b", "line 1: .* finite cost"),
        ("|A a\nshared |U u\n0:-1:0.5 |A b", "line 2: 'shared' must come first"),
        ("0:-1:0.5 |A a:x\n|A b", "line 1: 'a:x' must be a name, or name:value"),
        ("\n0:-1:0.5 |A a\n|A a", "lines 2 and 3: two actions with the same features"),
        ("0:-1:0.5 |A a", "with one item there is nothing to choose"),
    ],
    ids=range(12),
)
def test_lines_that_mean_nothing_are_refused_by_their_number(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


@pytest.mark.parametrize("source", [3, None, b"|A a", [b"|A a"], [1]], ids=str)
def test_what_is_no_text_is_refused(source):
    with pytest.raises(TypeError, match="source"):
        opl.read_vw(source)
