"""Whatever is given to a command, it takes it or says in one line what is wrong."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcgmm.errors import InputError
from dcgmm.options import made
from dcgmm_cli.keys import keys
from dcgmm_cli.records import read_metrics
from dcgmm_cli.results.formats import FORMATS
from dcgmm_cli.results.grouping import group
from dcgmm_cli.results.reading import find_runs
from dcgmm_cli.results.selecting import ordered, tabulate
from dcgmm_cli.runs import META, METRICS, RESULT
from dcgmm_cli.schema import SCHEMAS
from dcgmm_cli.yaml_files import read_yaml
from tests.generated import NUMBERS, SCALARS, TEXTS, VALUES, examples


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as dictionaries in each other."""
    content: dict[str, Any] = {}
    for key, value in dotted.items():
        node = content
        *path, name = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[name] = value
    return content


@pytest.mark.parametrize("command", SCHEMAS)
@examples(40)
@given(data=st.data())
def test_every_configuration_is_options_or_is_refused(command: str, data: st.DataObject) -> None:
    names = [key.name for key in keys(SCHEMAS[command])]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
    if command == "train":
        chosen = {"arch.layers": [], "dataset.name": "mnist", **chosen}
    with contextlib.suppress(InputError):
        made(SCHEMAS[command], nested(chosen))


JSON = st.one_of(
    VALUES.map(json.dumps),
    st.dictionaries(
        st.sampled_from(["command", "status", "config", "error", "seconds", "layers", "replicas", "starts"]), VALUES
    ).map(json.dumps),
    st.text(max_size=10),
)


@examples(40)
@given(meta=JSON, result=JSON, config=st.one_of(JSON, st.text(max_size=20)), lines=st.lists(JSON, max_size=3))
def test_every_damaged_run_is_a_row(
    tmp_path_factory: pytest.TempPathFactory, meta: str, result: str, config: str, lines: list[str]
) -> None:
    directory = tmp_path_factory.getbasetemp() / "damaged"
    texts = {META: meta, RESULT: result, METRICS: "\n".join(lines), ".hydra/config.yaml": config}
    for name, text in texts.items():
        path = directory / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(errors="surrogatepass"))
    runs = find_runs([str(directory)])
    if runs:  # what says that it holds replicas is none itself
        table = tabulate(ordered(runs, "status"), "all")
        assert len(table.rows) == 1
        for form in FORMATS.values():
            form(table).encode()
        group(runs, ["status"], None)
    with contextlib.suppress(InputError):
        read_metrics(directory / "run")


YAML = st.one_of(
    st.text(max_size=30),
    st.text("&*!{}[]:,-#|>\"' \n\tab01", max_size=30),
    st.dictionaries(TEXTS, SCALARS, max_size=3).map(json.dumps),
    NUMBERS.map(str),
)


@examples(100)
@given(text=YAML)
def test_every_text_is_yaml_or_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "generated.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with contextlib.suppress(InputError):
        read_yaml(path)
