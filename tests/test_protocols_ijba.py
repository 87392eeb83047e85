"""IJB-A: the published layout of ten splits, verification and identification by hand, absent faces, bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperarc.errors import DataError, UnknownNameError
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.ijba_files import read_listed
from hyperarc.protocols.protocol import Opened, open_protocol
from hyperarc.protocols.result import Measured
from hyperarc.recipe import Evaluation

HEADER = (
    "TEMPLATE_ID,SUBJECT_ID,FILE,MEDIA_ID,SIGHTING_ID,FRAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT,RIGHT_EYE_X,"
    "RIGHT_EYE_Y,LEFT_EYE_X,LEFT_EYE_Y,NOSE_BASE_X,NOSE_BASE_Y,FACE_YAW,FOREHEAD_VISIBLE,EYES_VISIBLE,"
    "NOSE_MOUTH_VISIBLE,INDOOR,GENDER,SKIN_TONE,AGE,FACIAL_HAIR"
)
REST = ",12.5,40,94,110.25,,,30.5,60,,,,1,0,1,1,1,3,4,"

# file -> its direction on a circle, in degrees; the faces of one subject lie together, except img/5 and frame/9
DIRECTIONS = {"img/1": 0.0, "img/2": 10.0, "img/3": 90.0, "img/4": 100.0, "img/5": 45.0, "frame/9_00": 20.0}
DIRECTIONS |= {"frame/9_30": 40.0, "img/6": 180.0}
SIGHTINGS = {name: 700 + place for place, name in enumerate(DIRECTIONS)}
ENDINGS = {"img/1": ".JPG", "frame/9_00": ".png", "frame/9_30": ".png"}

# template -> subject and files
VERIFY = {
    1: (11, ["img/1"]),
    2: (11, ["img/2", "frame/9_00", "frame/9_30"]),
    3: (12, ["img/3"]),
    4: (12, ["img/4"]),
    5: (13, ["img/5"]),
}
COMPARISONS = {1: ["1,2", "3,4", "1,3", "1,5", "3,5"], 2: ["1,2", "3,4", "5,3", "2,5"]}
GALLERY = {1: (11, ["img/1"]), 2: (12, ["img/3"])}
PROBES = {1: (11, ["img/2"]), 2: (12, ["img/5"]), 3: (13, ["img/6"]), 4: (12, ["img/4"])}  # numbers meet the gallery's


def rows(templates: dict[int, tuple[int, list[str]]]) -> str:
    lines = [HEADER]
    for template, (subject, files) in templates.items():
        for name in files:
            medium = int(name.split("/")[1].split("_")[0])
            frame = name.partition("_")[2]
            place = f"{name}{ENDINGS.get(name, '.jpg')}"
            lines.append(f"{template},{subject},{place},{medium},{SIGHTINGS[name]},{frame}{REST}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two splits of either protocol, and one small picture a face, in the published layout."""
    for number in (1, 2):
        folders = [tmp_path / kind / f"split{number}" for kind in ("IJB-A_11_sets", "IJB-A_1N_sets")]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / f"train_{number}.csv").write_text(rows({9: (0, ["img/6"])}))
        (folders[0] / f"verify_metadata_{number}.csv").write_text(rows(VERIFY))
        (folders[0] / f"verify_comparisons_{number}.csv").write_text("\n".join(COMPARISONS[number]) + "\n")
        (folders[1] / f"search_gallery_{number}.csv").write_text(rows(GALLERY))
        (folders[1] / f"search_probe_{number}.csv").write_text(rows(PROBES))
    for name in DIRECTIONS:
        for place in (tmp_path / "crops" / f"{name}.jpg", tmp_path / "sightings" / f"{SIGHTINGS[name]}.jpg"):
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (112, 112)).save(place)
    return tmp_path


def opened(sets: Path, protocol: str, crops: str = "crops", **arguments: object) -> Opened:
    given = {"faces": str(sets / crops), "pairs": str(sets), "arguments": arguments}
    return open_protocol(Evaluation(protocol=protocol, **given))


def judged(sets: Path, protocol: str, *gone: str, **arguments: object) -> Measured:
    directions = {name: np.deg2rad(degrees) for name, degrees in DIRECTIONS.items() if name not in gone}
    vectors = {name: [np.cos(angle), np.sin(angle)] for name, angle in directions.items()}
    if arguments.get("named_by") == "sighting":
        vectors = {str(SIGHTINGS[name]): vector for name, vector in vectors.items()}
    result = opened(sets, protocol, **arguments).protocol.judge(Embedded.of(vectors))
    assert isinstance(result, Measured)
    json.dumps(result.as_dict(), allow_nan=False)
    return result


def told(result: Measured) -> dict[str, tuple[float, float | None]]:
    return {number.name: (number.value, number.std) for number in result.numbers}


class TestVerification:
    def test_by_hand(self, sets: Path) -> None:
        """Template 2 is img/2 (10 degrees) plus the mean of its two frames (of one video, 30 degrees).

        With unit embeddings that mean is cos(10 degrees) long, so 2 points to 19.92 degrees. Split 1: genuine cosines
        are cos 19.92 and cos 10; impostors are 1-3 at 90, 1-5 at 45 and 3-5 at 45 degrees. At FAR 0.1 nothing may be
        accepted wrongly, so everything above cos 45 is: both genuine pairs. In split 2 impostor 2-5 stands at 25.08
        degrees; both genuine pairs are nearer still.
        """
        result = judged(sets, "ijba")
        assert told(result) == {f"TAR at FAR {far}": (1.0, 0.0) for far in ("0.001", "0.01", "0.1")}
        assert result.scores is not None
        length = np.cos(np.deg2rad(10.0))  # of the mean of two unit vectors 20 degrees apart
        toward = np.exp(1j * np.deg2rad(10.0)) + length * np.exp(1j * np.deg2rad(30.0))
        assert np.rad2deg(np.angle(toward)) == pytest.approx(19.92, abs=0.01)
        genuine = np.cos([np.angle(toward), np.deg2rad(10.0)] * 2)
        assert result.scores.genuine == pytest.approx(genuine, abs=1e-6)
        assert "has only 2 impostor pairs" in result.numbers[0].note
        conditions = result.conditions
        assert (conditions["splits"], conditions["pairs"], conditions["genuine_pairs"]) == (2, 9, 4)
        assert (conditions["faces"], conditions["templates"], conditions["absent_faces"]) == (7, 10, 0)

    def test_mean_and_deviation_over_splits(self, sets: Path) -> None:
        """Without img/2 and the frames template 2 is absent: its genuine pair, in split 1 alone, scores 0 and fails."""
        path = sets / "IJB-A_11_sets" / "split2" / "verify_comparisons_2.csv"
        path.write_text("3,4\n5,3\n1,5\n")
        result = judged(sets, "ijba", "img/2", "frame/9_00", "frame/9_30")
        assert told(result)["TAR at FAR 0.01"] == (0.75, 0.25)
        assert [split["TAR at FAR 0.01"] for split in result.details["by_split"]] == [0.5, 1.0]
        assert (result.conditions["absent_faces"], result.conditions["absent_pairs"]) == (3, 1)
        assert result.conditions["absent_templates"] == 2

    def test_a_frame_alone_changes_the_template(self, sets: Path) -> None:
        scores = judged(sets, "ijba", "frame/9_00").scores
        assert scores is not None
        assert scores.genuine[0] == pytest.approx(np.cos(np.deg2rad(25.0)), abs=1e-6)

    def test_named_by_sighting(self, sets: Path) -> None:
        by_file, by_sighting = judged(sets, "ijba"), judged(sets, "ijba", named_by="sighting")
        assert told(by_file) == told(by_sighting)
        found = opened(sets, "ijba", "sightings", named_by="sighting")
        assert len(found.faces) == 8
        assert "701" in found.protocol.faces()
        with pytest.raises(UnknownNameError, match=r"file, sighting"):
            opened(sets, "ijba", named_by="box")

    def test_a_picture_of_two_subjects_is_nobodys_crop(self, sets: Path) -> None:
        both = VERIFY | {6: (13, ["img/3"])}
        (sets / "IJB-A_11_sets" / "split1" / "verify_metadata_1.csv").write_text(rows(both))
        result = judged(sets, "ijba")
        assert result.absent_faces == ("img/3 of subject 12", "img/3 of subject 13")
        assert told(result)["TAR at FAR 0.1"] == (0.5, 0.0)  # 3-4 scores 0 in both splits
        assert opened(sets, "ijba", "sightings", named_by="sighting").protocol.faces()[4] == str(SIGHTINGS["img/3"])


class TestIdentification:
    def test_by_hand(self, sets: Path) -> None:
        """Gallery: 11 at 0, 12 at 90 degrees. Probes: 11 at 10, 12 at 45 and at 100, 13 (a stranger) at 180.

        The probe at 45 degrees ties with both entries, which counts against its mate: rank 2. The stranger's best is
        12, at 90 degrees: cosine 0. Both other mates score above it, so 2 of 3 are found.
        """
        result = judged(sets, "ijba_1n")
        numbers = told(result)
        assert numbers["rank-1"] == (pytest.approx(2 / 3), 0.0)
        assert numbers["rank-5"] == (1.0, 0.0)
        assert numbers["TPIR@FPIR=0.01"] == (pytest.approx(2 / 3), 0.0)
        conditions = result.conditions
        assert (conditions["probes"], conditions["non_mated_probes"], conditions["gallery_templates"]) == (8, 2, 4)
        assert "genuine_pairs" not in conditions

    def test_absent_probes_and_mates(self, sets: Path) -> None:
        """Without img/1 nobody finds subject 11; without img/6 the stranger finds nobody, and raises no alarm."""
        result = judged(sets, "ijba_1n", "img/1", "img/6")
        numbers = told(result)
        assert numbers["rank-10"] == (pytest.approx(2 / 3), 0.0)
        assert numbers["TPIR@FPIR=0.1"] == (pytest.approx(2 / 3), 0.0)
        assert result.absent_faces == ("img/1", "img/6")
        assert result.conditions["absent_templates"] == 4


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("11_sets/split2/verify_metadata_2.csv", ("MEDIA_ID", "MEDIUM"), r"metadata_2.csv:1: .*missing: MEDIA_ID"),
        ("11_sets/split1/verify_metadata_1.csv", ("3,12,img", "x,12,img"), r"metadata_1.csv:6: expected rows of .*'x'"),
        ("11_sets/split1/verify_metadata_1.csv", ("2,11,frame/9_30", "2,12,frame/9_30"), r"_1.csv:5: template 2 has"),
        ("11_sets/split1/verify_comparisons_1.csv", ("1,5", "1,6"), r"comparisons_1.csv:4: template 6 has no faces"),
        ("11_sets/split2/verify_comparisons_2.csv", ("1,2\n3,4\n", ""), r"comparisons_2.csv: every pair is of two"),
        ("1N_sets/split1/search_probe_1.csv", ("3,13,", "3,11,"), r"search_probe_1.csv: every probe has a mate"),
        ("1N_sets/split2/search_gallery_2.csv", (HEADER, HEADER[20:]), r"gallery_2.csv:1: .*missing: TEMPLATE_ID, SUB"),
    ],
)
def test_errors_name_file_and_row(sets: Path, file: str, change: tuple[str, str], said: str) -> None:
    path = sets / f"IJB-A_{file}"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(DataError, match=said):
        opened(sets, "ijba_1n" if "1N" in file else "ijba")


def test_missing_files_and_splits(sets: Path) -> None:
    (sets / "IJB-A_1N_sets" / "split2" / "search_probe_2.csv").unlink()
    with pytest.raises(DataError, match=r"search_probe_2.csv: no such file"):
        opened(sets, "ijba_1n")
    (sets / "IJB-A_11_sets" / "split1").rename(sets / "IJB-A_11_sets" / "split3")
    with pytest.raises(DataError, match=r"split1, split2, ... without gaps, got 2, 3"):
        opened(sets, "ijba")
    with pytest.raises(DataError, match=r"crops: expected the folders split1"):
        open_protocol(Evaluation(protocol="ijba", faces=str(sets / "crops"), pairs=str(sets / "crops")))


def test_columns_are_found_by_name(sets: Path) -> None:
    path = sets / "list.csv"
    path.write_text("SIGHTING_ID,AGE,TEMPLATE_ID,FILE,MEDIA_ID,SUBJECT_ID\n7,,1,img/1.JPG,5,11\n")
    listed = read_listed(path)
    assert (listed.templates[0], listed.subjects[0], listed.media[0], listed.sightings[0]) == (1, 11, 5, 7)
    assert listed.files == ("img/1",)
