from __future__ import annotations

from pathlib import Path

from making_cases import dataset_of

from paucis.data.case import Case
from paucis.data.options import DataOptions
from paucis.data.split import make_split


def test_fewer_unlabeled_cases_are_the_first_of_all_and_change_no_other_role() -> None:
    cases = [Case(f"p{i}", (Path(f"p{i}.nii.gz"),), Path(f"m{i}.nii.gz") if i < 6 else None) for i in range(12)]
    whole = make_split(dataset_of(cases), DataOptions(), 2)
    some = make_split(dataset_of(cases), DataOptions(unlabeled=3), 2)
    assert len(whole.unlabeled) > 3
    assert some.unlabeled == whole.unlabeled[:3]
    assert (some.labeled, some.val, some.test) == (whole.labeled, whole.val, whole.test)
    assert make_split(dataset_of(cases), DataOptions(unlabeled=0), 2).unlabeled == ()
