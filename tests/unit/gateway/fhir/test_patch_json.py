"""JSON Patch: the examples of RFC 6902 (appendix A) and RFC 6901, and what is no patch."""

import copy
from decimal import Decimal

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.patch_json import json_patch

EXAMPLES = {
    "A.1": ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    "A.2": ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    "A.3": ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    "A.4": ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    "A.5": ({"baz": "qux", "foo": "bar"}, [{"op": "replace", "path": "/baz", "value": "boo"}],
            {"baz": "boo", "foo": "bar"}),
    "A.6": ({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
    "A.7": ({"foo": ["all", "grass", "cows", "eat"]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
            {"foo": ["all", "cows", "eat", "grass"]}),
    "A.8": ({"baz": "qux", "foo": ["a", 2, "c"]},
            [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
            {"baz": "qux", "foo": ["a", 2, "c"]}),
    "A.10": ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
             {"foo": "bar", "child": {"grandchild": {}}}),
    "A.11": ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    "A.14": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    "A.16": ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
             {"foo": ["bar", ["abc", "def"]]}),
    "whole": ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    "copy": ({"a": {"b": [1]}},
             [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b/0", "value": 0}],
             {"a": {"b": [1]}, "c": {"b": [0, 1]}}),
    "digits": ({"a": Decimal("1.50")}, [{"op": "test", "path": "/a", "value": Decimal("1.5")}], {"a": Decimal("1.50")}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_specification(name):
    document, patch, expected = EXAMPLES[name]
    before = copy.deepcopy(document)

    assert json_patch(patch, document) == expected
    assert document == before


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        ([{"op": "test", "path": "/baz", "value": "bar"}], 422),
        ([{"op": "add", "path": "/baz/bat", "value": "qux"}], 422),
        ([{"op": "test", "path": "/n", "value": "10"}], 422),
        ([{"op": "test", "path": "/n", "value": True}], 422),
        ([{"op": "remove", "path": "/none"}], 422),
        ([{"op": "replace", "path": "/none", "value": 1}], 422),
        ([{"op": "add", "path": "/list/9", "value": 1}], 422),
        ([{"op": "add", "path": "/list/01", "value": 1}], 422),
        ([{"op": "remove", "path": "/list/-"}], 422),
        ([{"op": "remove", "path": ""}], 422),
        ([{"op": "move", "from": "/object", "path": "/object/deeper"}], 422),
        ([{"op": "add", "path": "/n"}], 400),
        ([{"op": "frob", "path": "/n"}], 400),
        ([{"op": "add", "path": "n", "value": 1}], 400),
        ([{"op": ["add"], "path": "/n", "value": 1}], 400),
        ([{"path": "/n"}], 400),
        (["add"], 400),
        ([], 400),
        ({}, 400),
        ([{"op": "test", "path": "/n", "value": 1}] * 201, 400),
        ([{"op": "copy", "from": "", "path": "/list/-"}] * 40, 422),
        ([{"op": "copy", "from": "/object", "path": "/object/a"}] * 80, 422),
    ],
)
def test_what_does_not_fit_or_is_no_patch_is_refused(patch, status):
    with pytest.raises(RequestRefused) as refused:
        json_patch(patch, {"baz": "qux", "n": 1, "list": [1], "object": {"a": 1}})

    assert refused.value.status == status
