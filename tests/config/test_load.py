import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup3d.config.load import load_config, nearest, read_yaml
from selfsup3d.errors import InputError

BAD = {
    "wrong key": ("trainer: {stepz: 3}", "trainer.stepz: unknown key; did you mean 'steps'?"),
    "wrong nested key": ("trainer: {optimizer: {lrr: 1}}", "trainer.optimizer.lrr: unknown key; did you mean 'lr'?"),
    "wrong section": ("trainr: {steps: 3}", "trainr: unknown key; did you mean 'trainer'?"),
    "key of another dataset": (
        "data: {kind: videos, preset: v1}",
        "data.preset: unknown key; valid keys: augment,",
    ),
    "text for a number": ("trainer: {steps: many}", "trainer.steps: input should be a valid integer"),
    "fraction for a count": ("trainer: {steps: 1.5}", "trainer.steps: input should be a valid integer"),
    "too small": ("trainer: {steps: 0}", "trainer.steps: input should be greater than or equal to 1 (got '0')"),
    "not a choice": ("trainer: {mixed_precision: half}", "trainer.mixed_precision: input should be 'auto', 'no'"),
    "not a kind": ("data: {kind: video}", "data.kind: 'video' is not a kind; did you mean 'videos'?"),
    "no kind": ("data: {root: /x}", "data.kind: is missing; valid kinds: synthetic, videos"),
    "stages": ("system: {kind: part_guided, stages: {pretrain: 0.9}}", "system.stages: the fractions must sum to 1"),
    "in a mixture": (
        "data: [{kind: synthetic}, {kind: videos, rot: x}]",
        "data.parts.1.rot: unknown key; did you mean 'root'?",
    ),
    "repeated key": ("trainer: {steps: 1, steps: 2}", "not valid YAML: line 1, column 21: key 'steps' appears twice"),
    "open bracket": ("trainer: [1, 2", "not valid YAML: line 1"),
    "tab": ("trainer:\n\tsteps: 1", "not valid YAML: line 2, column 1: found character '\\t'"),
    "alias": ("a: &a [1]\nb: *a", "not valid YAML: line 2, column 4: aliases (*name) are not supported"),
    "python object": ("a: !!python/object/apply:os.system ['true']", "not valid YAML: line 1, column 4: could not"),
    "a list": ("- 1\n- 2", "expected keys and values (such as `trainer:`), found a list"),
    "a word": ("hello", "expected keys and values (such as `trainer:`), found a str"),
    "section of a word": ("trainer: hello", "trainer: input should be a valid dictionary"),
    "impossible date": ("seed: 2001-99-99", "not valid YAML: ValueError"),
    "unhashable key": ("{[1, 2]: 3}", "not valid YAML: line 1, column 2"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML: line 2"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_mistakes_are_named_with_file_and_key(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert str(caught.value).splitlines()[0].startswith(f"{path}: {told}")


def test_every_mistake_gets_a_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("trainer: {stepz: 3, batch_size: x}\nseed: -1")
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 3


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "quickstart.yaml").write_text("seed: 1")
    with pytest.raises(InputError, match=r"quickstrat\.yaml: no such file; did you mean 'quickstart.yaml'"):
        load_config(tmp_path / "quickstrat.yaml")
    (tmp_path / ".mine.yaml").write_text("seed: 1")
    with pytest.raises(InputError, match="no such file") as caught:
        load_config(tmp_path / "mine.yaml")
    assert "'.mine.yaml'" not in str(caught.value), "hidden files are nobody's configs"
    with pytest.raises(InputError, match=r"no such file \(the folder .*nowhere does not exist\)"):
        load_config(tmp_path / "nowhere" / "a.yaml")


def test_a_folder_and_a_binary_are_no_configs(tmp_path):
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\x80\x81\xff")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a" * (1 << 21))
    with pytest.raises(InputError, match="characters are too many"):
        load_config(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").write_text("[" * 20_000)
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("-2.5e+3", -2500.0), (".5e1", 5.0), ("1.0", 1.0), ("1e", "1e"), ("e4", "e4")],
)
def test_numbers_in_scientific_notation_are_numbers(tmp_path, text, value):
    path = tmp_path / "a.yaml"
    path.write_text(f"x: {text}")
    assert read_yaml(path) == {"x": value}
    assert type(read_yaml(path)["x"]) is type(value)


def test_empty_file_means_the_defaults(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("# nothing here\n")
    config = load_config(path)
    assert str(config.output_dir) == "runs/plain"
    assert config.trainer.steps > 0


def test_unicode_and_spaces_in_paths(tmp_path):
    folder = tmp_path / "mañana und morgen"
    folder.mkdir()
    path = folder / "配置.yaml"
    path.write_text("data: {kind: videos, root: 'Meine Filme/été'}", encoding="utf-8")
    assert load_config(path).data.root.name == "été"


def test_nearest_says_nothing_where_nothing_is_near():
    assert nearest("qqq", ["steps", "seed"]) == ""
    assert nearest("stps", ["steps", "seed"]) == "; did you mean 'steps'?"


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_a_config_or_an_input_error(tmp_path, data):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    try:
        load_config(path)
    except InputError as error:
        told = str(error)
    else:
        return
    assert told.startswith(str(path))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["system", "data", "trainer", "kind", "steps", "optimizer", "lr", "stages", "parts", "weight", "seed", "output_dir"]
)


@settings(max_examples=200)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=4))
def test_any_tree_of_keys_is_a_config_or_an_input_error(tmp_path, tree):
    import yaml

    path = tmp_path / "fuzz.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    try:
        load_config(path)
    except InputError as error:
        told = str(error)
    else:
        return
    assert told.startswith(str(path))
