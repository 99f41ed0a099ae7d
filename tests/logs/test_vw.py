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
        ("0:-1:0.5 |A a", "every example has one action"),
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


# ---- as other shops write them


GOOD = """\
shared |User device=phone
|Article topic=sport
0:-1:0.8 |Article topic=news

shared |User device=desk
0:0:0.6 |Article topic=news
|Article topic=sport
"""
SAME = {
    "CRLF": (("\n", "\r\n"),),
    "CR": (("\n", "\r"),),
    "a mark of byte order": (("shared |User device=phone", "\ufeffshared |User device=phone"),),
    "blank lines of blanks": (("\n\n", "\n \t\n\n"),),
    "tabs": ((" |", "\t|"),),
    "a tag that touches the bar": (("0.8 |", "0.8 tag|"),),
    "no blank before the bar": (("0.8 |", "0.8|"),),
    "any number for the action": (("0:-1", "7:-1"),),
    "a cost of minus 0": (("0:0:", "0:-0:"),),
}


@pytest.mark.parametrize("how", SAME)
def test_what_is_written_otherwise_is_the_same(tmp_path, how):
    text = GOOD
    for old, new in SAME[how]:
        text = text.replace(old, new)
    (tmp_path / "log.vw").write_bytes(text.encode())
    log, right = opl.read_vw(tmp_path / "log.vw"), read(GOOD)
    for name in ("context", "action", "reward", "pscore", "action_context"):
        np.testing.assert_array_equal(getattr(log, name), getattr(right, name), err_msg=name)


FOREIGN = {
    "two labels in a line": ("0:-1:0.8", "0:-1:0.8 1:0:0.2", "line 3: .* is more than .*one label"),
    "an importance": ("0:-1:0.8", "0:-1:0.8 2.0", "line 3: '0:-1:0.8 2.0' is more than"),
    "a label on shared": (
        "shared |User device=p",
        "shared 0:-1:1 |User device=p",
        "line 1: .*more",
    ),
    "shared twice, once empty": (
        "shared |User device=p",
        "shared |\nshared |User device=p",
        "first",
    ),
    "shared last": ("0:-1:0.8 |Article topic=news", "0:-1:0.8 |A a\nshared |U u", "come first"),
    "no blank line": ("\n\n", "\n", "line 4: 'shared' must come first .* blank line missing"),
    "a blank line too many": ("phone\n", "phone\n\n", "line 1: the example .* has no label"),
    "several chosen": ("|Article topic=sport\n0", "1:0:0.2 |A b\n0", "line 3: .*two labels"),
    "none chosen": ("0:-1:0.8 ", "", "line 1: the example that begins here has no label"),
    "an action twice": ("topic=news", "topic=sport", "lines 2 and 3: two actions with the same"),
    "no probability": (":0.8", "", "line 3: the label '0:-1' must be action:cost:probability"),
    "an empty probability": ("0.8", "", "'0:-1:' must be"),
    "an empty cost": (":-1:", "::", "'0::0.8' must be"),
    "a decimal comma": ("0.8", "0,8", "'0:-1:0,8' must be .*, with a decimal point"),
    "a decimal comma in a feature": ("=sport", "=sport p:3,5", "'p:3,5' .*, with a decimal point"),
    "percent": ("0.8", "80", "line 3: .* percent are divided by 100"),
    "a weight": ("0.8", "1.25", "a weight is 1 / probability"),
    "a huge cost": ("-1", "-1e400", "line 3: .* finite cost"),
    "an action that is no whole number": ("0:-1", "1.5:-1", "a whole number and two numbers"),
    "a URL": ("topic=sport", "u=http://x", "line 2: .*A name has no colon: replace it"),
    "a namespace with a colon": ("|Article topic=sport", "|A:b c", "line 2: 'A:b' must be"),
    "another case": ("shared", "Shared", "line 1: the label 'Shared' must be"),
    "conditional bandits": ("shared |User", "ccb shared |User", "line 1: 'ccb shared' is more"),
    "a comment": (
        "shared |User device=p",
        "# log\nshared |User device=p",
        "line 1: '# log' has no",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_text_is_refused_with_its_line(what):
    old, new, message = FOREIGN[what]
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        read(GOOD.replace(old, new))


def test_the_text_for_cb_is_no_log_of_candidates():
    with pytest.raises(ValueError, match=r"every example has one action.*the text for --cb\?"):
        read("1:2:0.4 | a c\n\n2:1:0.2 | b d\n")
    with pytest.raises(ValueError, match=r"line 2: .*two labels.* the text for --cb"):
        read("1:2:0.4 | a c\n2:1:0.2 | b d\n")


def test_rewards_in_the_place_of_costs_are_doubted():
    clicks = GOOD.replace(":-1:", ":1:") + "\n" + GOOD.replace(":-1:", ":0:")
    with pytest.warns(UserWarning, match="If they are rewards, .* write them with a minus"):
        assert read(clicks).reward.tolist() == [-1, 0, 0, 0]
    delays = GOOD.replace(":-1:", ":3:").replace("0:0:", "0:2:")
    assert read(delays).reward.tolist() == [-3, -2]  # costs they are, and no warning


@pytest.mark.parametrize(
    "content",
    [GOOD.replace("news", "café").encode("latin1"), GOOD.encode("utf-16"), b"\x1f\x8b\x08\x00"],
    ids=["Latin 1", "UTF-16", "compressed"],
)
def test_a_file_that_is_no_utf8_is_named_with_its_cure(tmp_path, content):
    (tmp_path / "log.vw").write_bytes(content)
    with pytest.raises(ValueError, match=r"log\.vw is no text in UTF-8: .*Unpack it .*iconv"):
        opl.read_vw(tmp_path / "log.vw")


@pytest.mark.parametrize("source", [GOOD, [GOOD]], ids=["text", "a list of it"])
def test_text_in_the_place_of_lines_is_named(source):
    with pytest.raises(ValueError, match=r"pass (its lines, )?text\.splitlines\(\)"):
        opl.read_vw(source)
