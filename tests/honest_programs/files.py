# entry: count_lines
# names: count_lines, save
# wrong: if line.strip() => if line
import json
from pathlib import Path


def count_lines(path):
    with open(path) as file:
        return sum(1 for line in file if line.strip())


def save(path, data):
    Path(path).write_text(json.dumps(data))
    return Path(path)
# ---- tests-file
import json
import os
import tempfile
from pathlib import Path
folder = Path(tempfile.mkdtemp())
(folder / "a.txt").write_text("x\n\ny\n")
assert count_lines(folder / "a.txt") == 2
assert count_lines(str(folder / "a.txt")) == 2
saved = save(folder / "b.json", {"a": [1]})
assert saved == folder / "b.json"
assert json.loads((folder / "b.json").read_text()) == {"a": [1]}
assert os.path.exists(folder / "b.json")
assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "b.json"]
