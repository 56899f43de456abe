"""What is kept in a folder, and fits that go on from there."""

import json
import re
import shutil

import numpy as np
import pytest
from kept_fits import Keeping, Killed
from spread_fits import fit_bayes, fit_clicks, fit_network

from dmc import _whole_file
from dmc._group import ALONE, Share
from dmc._keeper import Snapshot
from dmc.distributed.checkpoint import LATEST, Checkpoint
from processes import run_processes

SHARE = Share(ALONE, np.array([2, 9]), np.array([3, 2]))
SNAPSHOT = Snapshot(
    {"n": 3, "noise": 0.1, "random": np.random.default_rng(1).bit_generator.state},
    {"V": np.arange(6.0).reshape(2, 3)},
    {"U": np.arange(10, dtype=np.float32).reshape(5, 2), "none": np.zeros((5, 0))},
)
TRIALS = {
    "bayes": (fit_bayes, ((900, 200), 30000, 3, False, True, None)),
    "bayes on a sample": (fit_bayes, ((900, 200), 30000, 3, False, True, {"large": 20000, "sample": 8000})),
    "bayes, second start": (fit_bayes, ((300, 100), 6000, 3, False, True, {"max_sweeps": 3, "noise_tol": 1e-9})),
    "clicks": (fit_clicks, ((600, 200), 16000, 3, True)),
    "network": (fit_network, ((600, 200), 16000, 3, True)),
}


def fit(name, size, keeping):
    run, args = TRIALS[name]
    if size > 1:
        return run_processes(size, run, *args, keeping)[0]
    return run(ALONE, *args, keeping)


@pytest.mark.parametrize("kill_after", [1, 4, 7])
@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.filterwarnings("ignore:the fit did not converge:UserWarning")
def test_a_fit_goes_on_as_if_nothing_had_been(name, kill_after, tmp_path):
    whole = fit(name, 1, Keeping(tmp_path / "whole"))
    with pytest.raises(Killed):
        fit(name, 1, Keeping(tmp_path / "ours", kill_after))
    found = fit(name, 1, Keeping(tmp_path / "ours"))
    if name == "clicks":  # whose predictions are made anew, in another rounding
        assert np.linalg.norm(found[1] - whole[1]) < 1e-6 * np.linalg.norm(whole[1])
        assert found[2:] == whole[2:]
        return
    for ours, theirs in zip(found, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["bayes on a sample", "clicks", "network"])
@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1)], ids=str)
@pytest.mark.filterwarnings("ignore:the fit did not converge:UserWarning")
def test_another_number_of_processes_goes_on(name, before, after, tmp_path):
    whole = fit(name, 1, Keeping(tmp_path / "whole"))
    with pytest.raises(Killed):
        fit(name, before, Keeping(tmp_path / "ours", 4))
    found = fit(name, after, Keeping(tmp_path / "ours"))
    assert found[0] == pytest.approx(whole[0], rel=1e-6)
    predicted, expected = (of[2 if name.startswith("bayes") else 1] for of in (found, whole))
    assert np.abs(predicted - expected).max() < 1e-3 * expected.std()


def test_a_fit_that_is_over_answers_at_once(tmp_path):
    whole = fit("bayes", 1, Keeping(tmp_path))
    names = json.loads((tmp_path / LATEST).read_text())["names"]
    again = fit("bayes", 1, Keeping(tmp_path))
    for ours, theirs in zip(again, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert json.loads((tmp_path / LATEST).read_text())["names"] == names


def test_what_is_kept_is_found(tmp_path):
    (tmp_path / f".dmc-{'0' * 16}-{_whole_file._machine()}-{'0' * 16}.part").touch()  # of one who was killed
    kept = Checkpoint(tmp_path, SHARE, {"rank": 3}, "digest")
    assert kept.found("sweep") is None
    for _ in range(3):
        kept.keep("sweep", SNAPSHOT)
    kept.keep("presence", SNAPSHOT._replace(numbers={}))
    found = Checkpoint(tmp_path, SHARE, {"rank": 3}, "digest").found("sweep")
    assert found.numbers == SNAPSHOT.numbers
    np.testing.assert_array_equal(found.arrays["V"], SNAPSHOT.arrays["V"])
    np.testing.assert_array_equal(found.of_rows["U"], SNAPSHOT.of_rows["U"])
    assert found.of_rows["none"].shape == (5, 0)
    assert sorted(re.sub("-[0-9a-f]{8}-", "-LIFE-", path.name) for path in tmp_path.iterdir()) == [
        LATEST,
        "presence-1-LIFE-all.safetensors",
        "presence-1-LIFE-rows0.safetensors",
        "sweep-3-LIFE-all.safetensors",
        "sweep-3-LIFE-rows0.safetensors",
    ]


def test_rows_are_found_by_their_parts(tmp_path):
    Checkpoint(tmp_path, SHARE, {}, "d").keep("sweep", SNAPSHOT)
    found = Checkpoint(tmp_path, Share(ALONE, np.array([9]), np.array([2])), {}, "d").found("sweep")
    np.testing.assert_array_equal(found.of_rows["U"], SNAPSHOT.of_rows["U"][3:])


def spoil(folder, name):
    path = next(folder.glob(name))
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


WRONG = {
    "other data": (lambda folder: None, ({"rank": 3}, "other"), "belongs to other data"),
    "other settings": (lambda folder: None, ({"rank": 4}, "digest"), "was made with rank = 3, and it is 4 now"),
    "a lost file": (
        lambda folder: next(folder.glob("*rows0*")).unlink(),
        None,
        "lacks sweep-1-[0-9a-f]{8}-rows0.safetensors",
    ),
    "a damaged file": (lambda folder: spoil(folder, "*all*"), None, "is damaged"),
    "a damaged list": (lambda folder: (folder / LATEST).write_text("{"), None, "LATEST.json is damaged"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_checkpoint_of_something_else_is_refused(case, tmp_path):
    spoiled, asked, said = WRONG[case]
    Checkpoint(tmp_path, SHARE, {"rank": 3}, "digest").keep("sweep", SNAPSHOT)
    spoiled(tmp_path)
    with pytest.raises(ValueError, match=said):
        Checkpoint(tmp_path, SHARE, *(asked or ({"rank": 3}, "digest")))


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        Checkpoint(tmp_path / "file", SHARE, {}, "d")


def test_a_folder_that_goes_away(tmp_path):
    kept = Checkpoint(tmp_path / "kept", SHARE, {}, "d")
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match="has been removed; create it again"):
        kept.keep("sweep", SNAPSHOT)


def test_one_that_was_not_put_in_place_does_not_count(tmp_path):
    kept = Checkpoint(tmp_path, SHARE, {}, "d")
    kept.keep("sweep", SNAPSHOT)
    before = json.loads((tmp_path / LATEST).read_text())
    kept._point = lambda: (_ for _ in ()).throw(OSError("killed"))
    with pytest.raises(OSError, match="killed"):
        kept.keep("sweep", SNAPSHOT._replace(numbers={"n": 4}))
    assert json.loads((tmp_path / LATEST).read_text()) == before
    assert Checkpoint(tmp_path, SHARE, {}, "d").found("sweep").numbers == SNAPSHOT.numbers


def _elsewhere(group, folders):
    share = Share(group, np.array([group.rank]), np.array([1]))
    try:
        Checkpoint(folders[group.rank], share, {}, "d")
    except ValueError as error:
        return str(error)
    return ""


def test_folders_that_are_not_the_same_one(tmp_path):
    said = run_processes(2, _elsewhere, [str(tmp_path / "a"), str(tmp_path / "b")])
    assert all("1 of 2 processes do not see the checkpoint folder" in of_one for of_one in said)
