"""Runs the built component in a world of its own: build it first."""

from foundry_sdk_testing import run

COMPONENT = "build/{{name}}.wasm"


def test_greets_the_branch():
    result = run(COMPONENT, event="commit.json")
    assert result.outcome == "done"
    [greeting] = result.published
    assert greeting["data"] == {"text": "hello, main", "count": 1}
    assert result.state["main"] == "1"


def test_counts_on():
    result = run(COMPONENT, event="commit.json", state={"main": "41"}, options={"greeting": "good evening"})
    assert result.published[0]["data"] == {"text": "good evening, main", "count": 42}


def test_rejects_what_is_no_commit():
    result = run(COMPONENT, event={"type": "example.other.v1", "data": {}})
    assert result.outcome == "reject"
    assert "example.other.v1" in result.why


if __name__ == "__main__":
    # Without pytest.
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok")
