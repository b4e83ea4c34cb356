"""Requests as clients send them, to a service whose network is scripted."""

import json
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip
from jsonschema import Draft202012Validator
from PIL import Image
from starlette.testclient import TestClient

from head_detection.config import TrackingConfig
from head_detection.inference.detector import HeadDetector
from head_detection.structures import Detections

FileOf = Callable[..., bytes]
Open = Callable[..., TestClient]


def form(*files: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (name, data)) for name, data in files]


def counted(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_picture_as_the_body_is_answered_with_a_record(
    client: TestClient, file_of: FileOf, repository: Path
) -> None:
    answer = client.post("/detect", content=file_of())
    assert answer.status_code == 200
    content = answer.json()
    schema = json.loads((repository / "docs" / "detections-2.schema.json").read_text())
    Draft202012Validator(schema).validate(content)
    assert content["score_threshold"] == 0.5
    assert content["model"] == {"weights": "scripted"}
    assert content["images"] == [
        {
            "file": "picture",
            "width": 64,
            "height": 48,
            "count": 1,
            "boxes": [[1.0, 2.0, 11.0, 12.0]],
            "scores": [0.9],
        }
    ]


def test_a_bad_picture_of_several_fails_alone(
    client: TestClient, file_of: FileOf, poisoned: bytes, repository: Path
) -> None:
    files = form(
        ("a.png", file_of()), ("b.txt", b"text"), ("c.png", poisoned), ("d.png", file_of())
    )
    answer = client.post("/detect", files=files, params={"score_threshold": 0.1})
    assert answer.status_code == 200
    content = answer.json()
    schema = json.loads((repository / "docs" / "detections-2.schema.json").read_text())
    Draft202012Validator(schema).validate(content)
    assert [(r["file"], r["count"]) for r in content["images"]] == [("a.png", 2), ("d.png", 2)]
    assert [(f["file"], f["status"]) for f in content["failed"]] == [("b.txt", 422), ("c.png", 500)]
    assert (answer.headers["X-Head-Count"], answer.headers["X-Failed-Pictures"]) == ("4", "2")


def test_where_all_pictures_fail_the_status_says_so(client: TestClient) -> None:
    answer = client.post("/detect", files=form(("a.txt", b"text"), ("b.txt", b"more text")))
    assert answer.status_code == 422
    assert len(answer.json()["failed"]) == 2
    answer = client.post("/detect", content=b"text", params={"format": "csv"})
    assert answer.status_code == 422
    assert answer.json() == {"error": "not a picture in any known format", "kind": "picture"}


def test_csv_and_coco_have_a_line_a_head(client: TestClient, file_of: FileOf) -> None:
    files = form(("a,b.png", file_of()), ("c.png", b"text"), ("d.png", file_of()))
    answer = client.post("/detect", files=files, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.splitlines() == [
        "file,frame,seconds,id,x1,y1,x2,y2,score",
        '"a,b.png",,,,1.0,2.0,11.0,12.0,0.9',
        "d.png,,,,1.0,2.0,11.0,12.0,0.9",
    ]
    answer = client.post("/detect", files=files, params={"format": "coco"})
    head = {"category_id": 1, "category_name": "head", "bbox": [1.0, 2.0, 10.0, 10.0], "score": 0.9}
    assert answer.json() == [
        {"image_id": 1, "file_name": "a,b.png", **head},
        {"image_id": 3, "file_name": "d.png", **head},
    ]


def test_a_picture_comes_back_drawn_or_hidden(client: TestClient, file_of: FileOf) -> None:
    data = file_of(640, 480)

    def picture(kind: str) -> np.ndarray[Any, Any]:
        answer = client.post("/detect", content=data, params={"format": kind})
        assert answer.headers["content-type"] == "image/jpeg"
        counts = [answer.headers[name] for name in ("X-Head-Count", "X-Failed-Pictures")]
        assert counts == ["1", "0"]
        return np.asarray(Image.open(BytesIO(answer.content)))

    hidden = picture("blur")
    assert hidden.shape == (480, 640, 3)
    # Of both heads, for the second is likely enough to be one; what is far from them is red.
    assert hidden[4:10, 3:9].max() < 40
    assert hidden[8:16, 7:13].max() < 40
    assert hidden[100, 100, 0] > 180
    assert (picture("image")[:20, :20] != hidden[:20, :20]).any()
    answer = client.post("/detect", files=form(("a", data), ("b", data)), params={"format": "blur"})
    assert answer.status_code == 400


@pytest.mark.parametrize("kind", ["image", "blur"])
def test_a_picture_too_long_for_jpeg_comes_back_as_png(
    client: TestClient, file_of: FileOf, kind: str
) -> None:
    for width, media_type in ((65_500, "image/jpeg"), (65_501, "image/png")):
        data = file_of(width, 2)
        answer = client.post("/detect", content=data, params={"format": kind})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert Image.open(BytesIO(answer.content)).width == width
    data = file_of(1_000_001, 2)
    answer = client.post("/detect", content=data, params={"format": kind})
    assert answer.status_code == 422
    assert "at most 1,000,000 pixels to write .png; got 1000001x" in answer.json()["error"]


def test_hidden_are_the_heads_that_the_command_hides(
    connect: Open, detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    detector.lowest_score = 0.02  # the shipped weights'

    def find(size: tuple[int, int]) -> Detections:
        boxes = np.array([[0, 0, 20, 20], [100, 0, 120, 20], [200, 0, 220, 20]], np.float32)
        return Detections.from_arrays(boxes, [0.9, 0.06, 0.03], size)

    engine._found = find
    client = connect()

    def hidden(**parameters: float) -> list[bool]:
        asked = {"format": "blur", **parameters}
        answer = client.post("/detect", content=file_of(320, 64), params=asked)
        picture = np.asarray(Image.open(BytesIO(answer.content)))
        return [bool(picture[10, x, 0] < 40) for x in (10, 110, 210)]

    assert hidden() == [True, True, False]  # from 0.05 on, as test --save blur
    assert hidden(score_threshold=0.02) == [True, True, True]  # who counts is hidden


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"score_threshold": "0.01"}, "score_threshold: expected 0.05 to 1; got 0.01"),
        ({"score_threshold": "nan"}, "score_threshold: expected 0.05 to 1; got nan"),
        ({"score_threshold": "many"}, "score_threshold: expected a number; got 'many'"),
        ({"format": "xml"}, "format: expected 'json', 'csv', 'coco', 'image' or 'blur'; got 'xml'"),
    ],
)
def test_wrong_parameters_are_answered_in_one_line(
    client: TestClient, file_of: FileOf, parameters: dict[str, str], words: str
) -> None:
    answer = client.post("/detect", content=file_of(), params=parameters)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(words)


def test_limits_are_kept_before_any_work(connect: Open, engine: Any, file_of: FileOf) -> None:
    client = connect(max_bytes=10_000, max_pixels=5000, max_files=2)
    small, large = file_of(), file_of(100, 51)

    def post(**request: Any) -> tuple[int, str]:
        answer = client.post("/detect", **request)
        return answer.status_code, answer.json().get("kind", "")

    assert post(content=b"x" * 10_001) == (413, "too_large")
    assert post(content=iter([b"x" * 6000] * 2)) == (413, "too_large")  # of no stated length
    assert post(content=large)[0] == 413
    assert post(files=form(*[("a.png", small)] * 3)) == (413, "too_large")
    assert post(content=b"") == (400, "request")
    assert post(data={"note": "no file"}, files=[])[0] == 422
    assert post(content=small, headers={"Content-Encoding": "gzip"}) == (415, "encoding")
    damaged = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(content=b"--y\r\n\r\n", headers=damaged) == (400, "request")
    assert post(content=b"", headers=damaged) == (400, "request")
    assert post(content=b"x", headers={"Content-Type": "multipart/form-data"}) == (400, "request")
    assert engine.batches == [[(480, 640)]]
    assert post(content=small)[0] == 200
    assert post(content=small, headers={"Content-Encoding": " "})[0] == 200


def test_a_full_queue_and_a_deadline(connect: Open, engine: Any, file_of: FileOf) -> None:
    client = connect(queue=2, deadline=0.05, max_batch=1)
    files = form(*[("a.png", file_of())] * 3)
    answer = client.post("/detect", files=files)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    engine.may_run.clear()
    assert counted(client, "head_detection_queue ") == 0
    answer = client.post("/detect", files=files[:2])
    assert answer.status_code == 504
    assert [failure["status"] for failure in answer.json()["failed"]] == [504, 504]
    engine.may_run.set()
    while client.post("/detect", content=file_of()).status_code != 200:
        threading.Event().wait(0.01)
    # The one that the network had begun with, and the one after: the second was left out.
    assert len(engine.batches) <= 1 + 1 + 2
    assert counted(client, 'head_detection_errors_total{kind="deadline"}') >= 2


def test_nobody_without_a_key_is_let_in(connect: Open, file_of: FileOf) -> None:
    client = connect(keys=("secret", "other"))
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Basic secret"}):
        answer = client.post("/detect", content=file_of(), headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for headers in ({"X-API-Key": "other"}, {"Authorization": "Bearer secret"}):
        assert client.post("/detect", content=file_of(), headers=headers).status_code == 200
    assert client.get("/metrics").status_code == 401
    assert client.get("/models").status_code == 401
    assert client.get("/nothing").status_code == 401
    for path in ("/", "/docs", "/healthz", "/page/page.css"):
        assert client.get(path).status_code == 200


def test_other_sites_and_other_names_are_not_let_in(connect: Open, file_of: FileOf) -> None:
    client = connect(hosts=("testserver",), origins=("https://friend.example",))

    def post(**headers: str) -> int:
        return client.post("/detect", content=file_of(), headers=headers).status_code

    assert post() == post(Origin="http://testserver") == 200
    assert post(Origin="https://evil.example") == post(Origin="null") == 403
    assert post(Host="evil.example") == post(Host="[") == 403
    assert post(Host="") == 200  # as HTTP/1.0 may, and no browser does
    assert post(Host="", Origin="null") == post(Host="", Origin="https://evil.example") == 403
    error = client.get("/healthz", headers={"Host": "evil.example:80"}).json()["error"]
    assert "got the host 'evil.example:80', which is let in by --host" in error
    assert post(Origin="https://friend.example") == 200
    asked = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/detect", headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    assert "Access-Control-Allow-Origin" not in client.get("/models").headers


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    answers = [client.get(path) for path in ("/", "/docs", "/models", "/nothing", "/page/page.css")]
    answers += [client.get("/page/../app.py"), client.get("/page/%2e%2e/app.py")]
    answers.append(client.put("/detect"))
    assert [a.status_code for a in answers] == [200, 200, 200, 404, 200, 404, 404, 405]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answers[-1].json() == {"error": "expected POST; got PUT; see /docs", "kind": "http"}


def test_what_is_read_has_its_headers_alone_too(client: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/", "/docs", "/models", "/metrics"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
    assert client.get("/models").status_code == 200
    assert client.get("/detect").json()["error"] == "expected POST; got GET; see /docs"
    assert client.get("/none").json()["error"] == "there is no such address here; /docs lists them"


def test_models_docs_and_metrics_tell_what_there_is(client: TestClient, file_of: FileOf) -> None:
    (model,) = client.get("/models").json()["models"]
    assert (model["weights"], model["lowest_score"], model["engine"]) == (
        "scripted", 0.05, "scripted",
    )  # fmt: skip
    page = client.get("/docs").text
    assert "<code>POST /detect</code>" in page
    assert "<code>WS /stream</code>" in page
    assert "json, csv, coco, image, blur" in page
    assert "//" not in page.replace("<!doctype", "")
    for _ in range(3):
        client.post("/detect", content=file_of())
    client.post("/detect", content=b"text")
    client.get("/a-path-of-many")
    assert counted(client, 'head_detection_requests_total{route="/detect",status="200"}') == 3
    assert counted(client, 'head_detection_requests_total{route="/detect",status="422"}') == 1
    assert counted(client, 'head_detection_requests_total{route="other",status="404"}') == 1
    assert counted(client, "head_detection_pictures_total") == 3
    assert counted(client, "head_detection_heads_total") == 3
    assert counted(client, 'head_detection_errors_total{kind="picture"}') == 1
    assert counted(client, "head_detection_queue ") == 0
    assert counted(client, 'head_detection_stage_seconds_count{stage="network"}') == 3


def test_nothing_of_a_picture_touches_the_disk_or_the_log(
    client: TestClient,
    file_of: FileOf,
    poisoned: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tempfile._TemporaryFileWrapper", None)
    monkeypatch.setattr("tempfile.TemporaryFile", None)  # to call it fails
    padded = file_of() + b"\0" * 3_000_000  # more than a form's parser keeps in memory by itself
    answer = client.post("/detect", files=form(("who-is-it.png", padded), ("b.png", poisoned)))
    assert [record["count"] for record in answer.json()["images"]] == [1]
    assert "the detector failed on a picture" in caplog.text
    assert "who-is-it" not in caplog.text


@pytest.mark.parametrize("route", ["/detect", "/track"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [("score_treshold", "did you mean score_threshold?"), ("x" * 300, "known: score_threshold")],
)
def test_a_parameter_that_there_is_not_is_named(
    client: TestClient, file_of: FileOf, route: str, name: str, meant: str
) -> None:
    answer = client.post(route, content=file_of(), params={name: 0.4})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["kind"] == "request"
    assert f"{name[:255]}: there is no such parameter" in problem["error"]
    assert meant.partition(":")[0] in problem["error"]


@pytest.mark.parametrize("route", ["/detect", "/track"])
def test_a_parameter_in_the_form_is_not_passed_over(
    client: TestClient, file_of: FileOf, route: str
) -> None:
    files = form(("a.png", file_of()))
    answer = client.post(route, files=files, data={"note": "x", "score_threshold": "0.3"})
    assert answer.status_code == 400
    words = "score_threshold: expected in the address, as ?score_threshold=...; got it in the form"
    assert answer.json()["error"] == words


@pytest.mark.parametrize("route", ["/detect", "/track"])
def test_a_form_of_too_much_beside_its_files_is_told_so(
    connect: Open, file_of: FileOf, route: str
) -> None:
    client, files = connect(max_bytes=3_000_000), form(("a.png", file_of()))
    answer = client.post(route, files=files, data={f"note{n}": "x" for n in range(17)})
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "expected at most 16 fields in the form beside its files; got more"
    )
    answer = client.post(route, files=files, data={"note": "x" * 1_100_000})
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        "expected files in the form with file names; got a large field without one"
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mpg", ".ts"])
def test_a_video_is_sent_where_videos_are_taken(
    client: TestClient, tmp_path: Path, suffix: str
) -> None:
    video = write_clip(tmp_path / f"street{suffix}", 2).read_bytes()
    answer = client.post("/detect", content=video)
    assert answer.status_code == 422
    words = "expected a picture; got a video: send it to /track"
    assert answer.json()["failed"] == [{"file": "picture", "error": words, "status": 422}]


@pytest.mark.parametrize("route", ["/detect", "/track"])
def test_a_parameter_that_comes_twice_is_refused(
    client: TestClient, file_of: FileOf, route: str
) -> None:
    answer = client.post(f"{route}?score_threshold=.3&score_threshold=.9", content=file_of())
    assert answer.status_code == 400
    assert answer.json()["error"] == "score_threshold: expected once; it came 2 times"
    if route == "/detect":  # of addresses there may be several
        assert client.post("/detect?url=http://a.example&url=http://b.example").status_code == 403


def test_docs_say_from_which_score_on_a_head_counts(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    words = {
        path: parameter["description"]
        for path in ("/detect", "/track")
        for parameter in paths[path]["post"]["parameters"]
        if parameter["name"] == "score_threshold"
    }
    assert words["/detect"] == "Lowest score of heads to return; else the weights' own."
    assert words["/track"].endswith("at any score that the tracker uses, 0.1 or more.")
    assert TrackingConfig().lowest_score == 0.1


@pytest.mark.parametrize("route", ["/detect", "/track"])
def test_openapi_tells_of_the_errors_that_there_are(client: TestClient, route: str) -> None:
    responses = client.get("/openapi.json").json()["paths"][route]["post"]["responses"]
    assert set(responses) == {"200", "default"}  # no 422 of another form
    told = responses["default"]["content"]["application/json"]["schema"]["properties"]
    error = client.post(f"{route}?score_threshold=2", content=b"x").json()
    assert set(told) == set(error) == {"error", "kind"}
