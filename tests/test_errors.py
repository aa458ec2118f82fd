import pytest

from h2a_lib.errors import suggestion, unknown

NETWORKS = ["resnet18", "resnet34", "convnext_tiny"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("resnet-18", "resnet18"), ("ResNet34", "resnet34"), ("convnext_tny", "convnext_tiny")],
)
def test_a_misspelt_name_is_answered_with_the_closest_known_one(name, meant):
    assert suggestion(name, NETWORKS) == f" (did you mean {meant!r}?)"


def test_a_name_like_no_other_gets_no_suggestion():
    assert suggestion("transformer", NETWORKS) == ""
    assert str(unknown("network", "x", NETWORKS)) == (
        "unknown network 'x'; known: resnet18, resnet34, convnext_tiny"
    )
