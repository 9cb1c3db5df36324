"""Published data is read from files and folders of every usual form, and what does not fit is refused by name."""

import gzip
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import parquet

from reasonrl import DataError, UnreachableError
from reasonrl_tasks.readers import file_rows
from reasonrl_tasks.sources import HubSource, read_source, source_of

TEST = HubSource("someone/sums", "main", "test")
ROWS = [{"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": "4"}]
OTHERS = [{"question": "3 + 3?", "answer": "6"}]


def write_lines(path: Path, rows: Sequence[object] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, object]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def read(source: HubSource, data: Path, **settings: str) -> list[object]:
    return [row for _, row in read_source(source, data=str(data), **settings)]


# Files


def write_array(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def write_in_object(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "examples": ROWS}), encoding="utf-8")


def write_csv(path: Path) -> None:
    path.write_text("question,answer\r\n1 + 1?,2\r\n2 + 2?,4\r\n", encoding="utf-8-sig")


def write_gzip(path: Path) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)


def write_zst(path: Path) -> None:
    with pyarrow.output_stream(str(path), compression="zstd") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_lines),
        ("a.json", write_lines),
        ("a.json", write_array),
        ("a.json", write_in_object),
        ("a.parquet", write_parquet),
        ("A.CSV", write_csv),
        ("a.jsonl.gz", write_gzip),
        ("a.json.gz", write_gzip),
        ("a.jsonl.zst", write_zst),
    ],
)
def test_a_file_of_any_usual_form_gives_the_same_rows(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    assert read(TEST, tmp_path / name) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r"a\.txt: is of no known form. Give a file whose name ends in .jsonl, .json"),
        ("a.parquet.gz", b"x", "is of no known form"),
        ("a.jsonl", b'{"a": 1}\n[2]\n', r"a\.jsonl:2: is a JSON list, not an object"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"a\.jsonl:2: is not JSON: Expecting value at column 7"),
        ("a.jsonl", b'{"a": "\xff"}', r"a\.jsonl: is not UTF-8 text: byte 7 is 0xff, in line 1"),
        ("a.jsonl", b"\xff\xfe{\x00}\x00", "is not UTF-8 text, but UTF-16"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, r"a\.jsonl:1: cannot be read as JSON"),
        ("a.json", b"[1]", "row 1: is a JSON int, not an object"),
        ("a.json", b'{"a": [], "b": []}', "is neither a JSON array of objects, nor an object with one such array"),
        ("a.json", b'[{"a": 1},\n{]', r"a\.json: is not JSON: .* at line 2, column 2"),
        ("a.csv", b"a,b\n1,2\n3\n", r"a\.csv:3: has not as many cells as the first line, 2"),
        ("a.csv", b'a,b\n1,"2\n', r"a\.csv: is not CSV after line 1: unexpected end of data"),
        ("a.jsonl.gz", b"hello", "cannot be decompressed"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "cannot be decompressed"),
        ("a.jsonl.zst", b"hello", "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(file_rows(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_its_nearest_neighbor(tmp_path: Path) -> None:
    write_lines(tmp_path / "sums_test.jsonl")
    with pytest.raises(DataError, match=r"there is no such file or folder. Did you mean 'sums_test\.jsonl'\?"):
        read(TEST, tmp_path / "sums_tets.jsonl")
    with pytest.raises(DataError, match="there is no such file or folder"):
        read(TEST, tmp_path / ("x" * 300))


def test_rows_carry_their_place(tmp_path: Path) -> None:
    lines, table = write_lines(tmp_path / "a.jsonl"), write_parquet(tmp_path / "a.parquet")
    assert [where for where, _ in file_rows(lines)] == [f"{lines}:1", f"{lines}:2"]
    assert [where for where, _ in file_rows(table)] == [f"{table}, row 1", f"{table}, row 2"]


def test_a_file_whose_name_speaks_of_another_split_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "sums-train.jsonl")
    with pytest.raises(DataError, match="its name says train, but split 'test' is wanted"):
        read(TEST, path)
    assert read(HubSource("x", split="train+test"), path) == ROWS
    assert read(TEST, write_lines(tmp_path / "train" / "sums.jsonl")) == ROWS  # folders above a named file say nothing
    assert read(HubSource("x", split="test", files=("sums*",)), path) == ROWS


# Folders


def snapshot(root: Path, *, shards: int = 1) -> Path:
    """Write what a hub's repository with two configurations and two splits looks like."""
    for config in ("main", "socratic"):
        write_parquet(root / config / "train-00000-of-00001.parquet", OTHERS)
        for shard in range(shards):
            rows = ROWS[shard::shards] if config == "main" else OTHERS
            write_parquet(root / config / f"test-{shard:05}-of-{shards:05}.parquet", rows)
    (root / "README.md").write_text("---\nlicense: mit\n---", encoding="utf-8")
    (root / "dataset_infos.json").write_text("{}", encoding="utf-8")
    return root


def in_cache(root: Path) -> Path:
    snapshot(root / "snapshots" / "0123abcd")
    (root / "blobs").mkdir()
    return root


def saved_dict(root: Path) -> Path:
    DatasetDict({"test": Dataset.from_list(ROWS), "train": Dataset.from_list(OTHERS)}).save_to_disk(root)
    return root


def saved(root: Path) -> Path:
    Dataset.from_list(ROWS).save_to_disk(root)
    return root


def one_file(root: Path) -> Path:
    return write_lines(root / "sums.jsonl").parent


def by_split(root: Path) -> Path:
    write_lines(root / "sums_train.jsonl", OTHERS)
    return write_lines(root / "sums_test.jsonl").parent


def split_folders(root: Path) -> Path:
    write_lines(root / "train" / "a.jsonl", OTHERS)
    write_lines(root / "test" / "a.jsonl")
    return root


@pytest.mark.parametrize(
    "make",
    [
        snapshot,
        lambda root: snapshot(root, shards=2),
        in_cache,
        saved_dict,
        saved,
        one_file,
        by_split,
        split_folders,
    ],
)
def test_a_folder_of_any_usual_form_gives_the_same_rows(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert read(TEST, make(tmp_path / "data")) == ROWS


def test_what_a_folder_lacks_or_has_twice_is_said_with_names(tmp_path: Path) -> None:
    def refused(folder: Path, source: HubSource = TEST) -> str:
        with pytest.raises(DataError) as caught:
            read(source, folder)
        return str(caught.value)

    assert "holds no file of a known form" in refused(tmp_path)
    both = one_file(tmp_path / "a")
    write_lines(both / "sums2.jsonl")
    assert "holds more than one file that may be meant: sums.jsonl, sums2.jsonl" in refused(both)
    train = write_lines(tmp_path / "b" / "train.jsonl").parent
    assert "holds nothing of split 'test', but train.jsonl" in refused(train)
    configs = refused(snapshot(tmp_path / "c"), HubSource("x", None, "test"))
    assert "main/test-00000-of-00001.parquet, socratic/test-00000-of-00001.parquet" in configs
    shards = snapshot(tmp_path / "d", shards=2)
    (shards / "main" / "test-00001-of-00002.parquet").unlink()
    assert "has 1 of the 2 files of test.parquet" in refused(shards)
    assert "has no split 'validation'. Known: test, train" in refused(
        saved_dict(tmp_path / "e"), HubSource("x", split="validation")
    )
    cache = in_cache(tmp_path / "f")
    shutil.copytree(cache / "snapshots" / "0123abcd", cache / "snapshots" / "4567cdef")
    assert "holds 2 versions; give one of them: snapshots/0123abcd, snapshots/4567cdef" in refused(cache)


def test_usual_names_choose_among_files_the_best_first(tmp_path: Path) -> None:
    write_lines(tmp_path / "other.jsonl", OTHERS)
    write_lines(tmp_path / "contest.jsonl")
    assert read(HubSource("x", split="test", files=("contest*", "*")), tmp_path) == ROWS


def test_a_data_set_in_parts_is_read_in_their_order_and_must_be_whole(tmp_path: Path) -> None:
    write_lines(tmp_path / "geometry" / "test.jsonl", OTHERS)
    write_lines(tmp_path / "algebra" / "test.jsonl", ROWS)
    source = HubSource("x", None, "test", parts=("algebra", "geometry"))
    assert read(source, tmp_path) == [*ROWS, *OTHERS]
    with pytest.raises(DataError, match="lacks number_theory of the 3 parts"):
        read(HubSource("x", None, "test", parts=("algebra", "geometry", "number_theory")), tmp_path)


# Hub


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ``datasets`` from the network and from the user's cache, loaded already or not."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("offline")
def test_without_a_network_the_message_says_how_to_do_without() -> None:
    with pytest.raises(UnreachableError, match=r"cannot load the data set 'someone/sums'.*--data PATH") as caught:
        list(read_source(TEST))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_a_hub_data_set_is_read_by_split(tmp_path: Path) -> None:
    write_lines(tmp_path / "sums" / "test.jsonl")
    write_lines(tmp_path / "sums" / "train.jsonl", OTHERS)
    source = HubSource(str(tmp_path / "sums"), None, "test")
    assert [row for _, row in read_source(source)] == ROWS
    with pytest.raises(DataError, match="split 'dev'"):
        list(read_source(HubSource(str(tmp_path / "sums"), None, "dev")))


PARTS = """---
configs:
- config_name: algebra
  data_files: [{split: test, path: algebra.jsonl}]
- config_name: geometry
  data_files: [{split: test, path: geometry.jsonl}]
---
"""


@pytest.mark.usefixtures("offline")
def test_all_parts_of_a_hub_data_set_are_read(tmp_path: Path) -> None:
    write_lines(tmp_path / "math" / "geometry.jsonl", OTHERS)
    write_lines(tmp_path / "math" / "algebra.jsonl")
    (tmp_path / "math" / "README.md").write_text(PARTS, encoding="utf-8")
    source = HubSource(str(tmp_path / "math"), None, "test", parts=("algebra", "geometry"))
    assert [row for _, row in read_source(source)] == [*ROWS, *OTHERS]


def test_a_setting_that_local_data_has_no_use_for_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"revision 'abc' is of the hub's data set, but the data comes from .*a\.jsonl"):
        read(TEST, path, revision="abc")
    copies = (TEST, HubSource("other/sums", None, "train"))
    assert source_of(copies, hub_name="other/sums", data=None) == copies[1]
    with pytest.raises(DataError, match="hub_name is 'other/sums', but the data comes from"):
        source_of(copies, hub_name="other/sums", data=str(path))
    with pytest.raises(DataError, match=r"'others/sums' is no known copy of this data set\. Did you mean 'other/sums'"):
        source_of(copies, hub_name="others/sums", data=None)
