"""The page itself, in gradio. It runs without any network but the one to the person's browser: no fonts, scripts or
statistics from elsewhere."""

from __future__ import annotations

import html
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from selfsup3d.demo import viewer
from selfsup3d.demo.answers import Answers, Seen
from selfsup3d.demo.door import Door, received
from selfsup3d.demo.images import MAX_BYTES, SUFFIXES, Framing
from selfsup3d.demo.videos import MAX_SECONDS, MAX_VIDEO_BYTES, VIDEO_SUFFIXES, VideoAnswers
from selfsup3d.errors import InputError
from selfsup3d.viz.colours import LEFT, RIGHT

os.environ["GRADIO_ANALYTICS_ENABLED"] = os.environ["GRADIO_RUN_HISTORY"] = "False"  # read by gradio when it starts
try:
    import gradio as gr
    from starlette.middleware import Middleware
except ImportError as error:
    raise InputError(f"the demo needs gradio ({error}): pip install -e '.[demo]'") from None

__all__ = ["build_page", "launch_page"]

_Accept = Callable[[object], tuple[Path, str]]  # `door.received` of this page
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
_CSS = """
.gradio-container { width: 100%; max-width: 1320px !important; margin: 0 auto; }
.message { color: #8a1c12; background: #fdecea; border: 1px solid #f3b6b0; border-radius: 8px; padding: 10px 14px; }
#turned-away { position: fixed; left: 50%; bottom: 32px; transform: translateX(-50%); z-index: 99; }
#skeleton, #motion { flex: 1 1 0; min-width: min(240px, 100%) !important; }
.facts { opacity: 0.7; font-size: 13px; }
.square img { width: 100% !important; height: 100% !important; object-fit: contain !important; }
.shelf .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; gap: 6px !important; }
.shelf .grid-wrap { overflow: hidden !important; }
@media (max-width: 640px) {  /* telephones: results begin on the first screen */
  .source { height: 200px !important; }
  .shelf, .shelf .grid-wrap { height: 90px !important; }
  .shelf .grid-container { grid-template-columns: none !important; grid-template-rows: 72px !important;
                           grid-auto-flow: column; grid-auto-columns: 72px; overflow-x: auto; }
}
footer { display: none !important; }
"""
_FRAMINGS = {"whole": "Whole image", "middle": "Middle square"}
_HEIGHT = 300
_SHELF = 226
_WAIT: dict[str, Any] = {
    "trigger_mode": "always_last",
    "show_progress": "hidden",
}  # of sliders: the newest position wins
_HOUR, _DAY = 3600, 86400
_CAMERA: dict[str, Any] = {
    "sources": ["webcam"],
    "webcam_options": gr.WebcamOptions(
        mirror=False,  # a mirror would exchange left and right
        constraints={"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}},  # a PNG of it is let in
    ),
    "height": _HEIGHT,
    "buttons": [],
}  # browsers ask the person, and give cameras to this machine's own pages and to https alone


def build_page(
    answers: Answers, examples: Sequence[Path], uploads: Path, videos: VideoAnswers | None = None
) -> gr.Blocks:
    """The page as gradio blocks.

    Args:
        answers: what the page asks. examples: images to pick from; the first is there when the page opens.
        uploads: folder that gradio writes uploads into (GRADIO_TEMP_DIR); no other file is looked at.
        videos: what the video tab asks; None = the tab says how to have it.
    """
    accept = partial(received, uploads=uploads, examples=examples)
    with gr.Blocks(title="selfsup3d", fill_width=True, analytics_enabled=False, delete_cache=(_HOUR, _DAY)) as page:
        gr.Markdown("# selfsup3d\n3D pose, body parts and new images of a person from one image.")
        with gr.Tabs():
            with gr.Tab("Pose"):
                _pose_tab(page, answers, examples, accept)
            with gr.Tab("Transfer"):
                _transfer_tab(page, answers, examples, accept)
            with gr.Tab("Video"):
                _video_tab(videos, accept)
        gr.HTML(html.escape(answers.facts), elem_classes="facts")
        page.unload(_forgetting(answers, videos))
    page.queue(default_concurrency_limit=1, max_size=32)  # one network: one question at a time
    return page


def launch_page(
    page: gr.Blocks, host: str, port: int, uploads: Path, block: bool = True, videos: Path | None = None
) -> str:
    """Serve the page until interrupted, or return its address at once where `block` is False; see `door` for whom.

    Args:
        videos: folder of the results of the video tab; None = the page has none, and no video is let in.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
    """
    try:
        _try_address(host, port)
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,  # gradio would tell how to put the page on the internet
            share=False,
            inbrowser=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size=MAX_VIDEO_BYTES if videos else MAX_BYTES,
            app_kwargs={"middleware": [Middleware(Door, uploads=uploads, videos=videos)]},
            state_session_capacity=64,
            theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=["ui-monospace", "monospace"]),
            css=_CSS,
            js=_script(videos is not None),
        )
    except OSError as error:
        raise InputError(f"cannot serve on {host}:{port} ({error}); try another --port") from None
    if block:
        print(f"{address} (stop with Ctrl-C)", flush=True)
        page.block_thread()
    return address


def _try_address(host: str, port: int) -> None:
    """Raise an OSError now where nothing can listen: the server's own would come after a message of its own."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(address)


def _script(videos: bool) -> str:
    largest = MAX_VIDEO_BYTES if videos else MAX_BYTES
    refusal = f"is larger than {MAX_BYTES // 2**20} MB (videos: {largest // 2**20} MB): make it smaller first"
    code = files("selfsup3d.demo").joinpath("page.js").read_text(encoding="utf-8")
    code = code[code.index("() =>") :].replace("VIDEO_LIMIT", str(largest)).replace("LIMIT", str(MAX_BYTES))
    return code.replace("TOLD", refusal)


# ------------------------------------------------------------------------------------------------------ pose and views


def _pose_tab(page: gr.Blocks, answers: Answers, examples: Sequence[Path], accept: _Accept) -> None:
    person = gr.State(time_to_live=_DAY)
    with gr.Row():
        with gr.Column(scale=2, min_width=260):
            source = _Source("Image", "image", examples, accept)
            framing = gr.Radio(
                [(_FRAMINGS[name], name) for name in get_args(Framing)], value="whole", label="What the network sees"
            )
        with gr.Column(scale=5, min_width=520):
            with gr.Row():
                skeleton = _skeleton("3D skeleton", viewer.HTML, "skeleton")
                overlay = _result("On the image", "overlay")
                parts = _result("Body parts", "parts")
            with gr.Row():
                novel = _result("New view", "novel")
                with gr.Column(scale=2, min_width=240):
                    gr.Markdown("**Move the camera round the person**")
                    azimuth = gr.Slider(-180, 180, 40, step=5, label="Azimuth, degrees to the side", elem_id="azimuth")
                    elevation = gr.Slider(-30, 75, 15, step=5, label="Elevation, degrees upwards", elem_id="elevation")
                    distance = gr.Slider(
                        0.6, 2.0, 1.0, step=0.05, label="Distance, 1 = as in the image", elem_id="distance"
                    )
                    gr.Markdown("**Download the pose**")
                    with gr.Row():
                        downloads = [
                            gr.DownloadButton(kind, size="sm", min_width=70, elem_id=f"file-{kind.lower()}")
                            for kind in answers.FILES
                        ]
    camera = [azimuth, elevation, distance]
    results = [person, skeleton, overlay, parts, *downloads, source.message]

    def look(raw: Any, framed: Framing, request: gr.Request) -> list[Any]:
        if raw is None:
            return [None, None, None, None, None, *[_no_file()] * len(downloads), _told("")]
        try:
            path, name = accept(raw)
            found = answers.look(path, framed, name, _session(request))
        except InputError as error:
            return [None, None, None, None, None, *[_no_file()] * len(downloads), _told(str(error))]
        ready = [gr.update(value=str(path), interactive=True) for path in found.files]
        return [
            str(path),
            found.seen,
            viewer.skeleton_json(found.joints),
            found.overlay,
            found.parts,
            *ready,
            _told(""),
        ]

    def view(seen: Seen | None, azimuth: float, elevation: float, distance: float) -> Any:
        return None if seen is None else answers.view(seen, azimuth, elevation, distance)

    outputs = [source.image, *results]
    viewed: dict[str, Any] = {"fn": view, "inputs": [person, *camera], "outputs": novel}
    source.listen(page, 0, look, [framing], outputs, viewed)
    framing.input(look, [source.image, framing], outputs, preprocess=False).then(**viewed)
    gr.on([slider.change for slider in camera], **viewed, **_WAIT)


# --------------------------------------------------------------------------------------------------- appearance × pose


def _transfer_tab(page: gr.Blocks, answers: Answers, examples: Sequence[Path], accept: _Accept) -> None:
    with gr.Row():
        sources, people = [], []
        for title, name in (("Appearance: who", "appearance"), ("Pose: how", "driving")):
            with gr.Column(scale=2, min_width=260):
                sources.append(_Source(title, name, examples, accept))
                people.append(gr.State(time_to_live=_DAY))
        with gr.Column(scale=2, min_width=260):
            result = _result("Together", "transfer")
            blend = gr.Slider(0, 1, 1, step=0.05, label="From their own pose (0) to the other's (1)", elem_id="blend")

    def look(raw: Any) -> list[Any]:
        if raw is None:
            return [None, None, _told("")]
        try:
            path, name = accept(raw)
            return [str(path), answers.encode(path, "whole", name), _told("")]
        except InputError as error:
            return [None, None, _told(str(error))]

    def transfer(appearance: Seen | None, driving: Seen | None, share: float) -> Any:
        return None if appearance is None or driving is None else answers.transfer(appearance, driving, share)

    made: dict[str, Any] = {"fn": transfer, "inputs": [*people, blend], "outputs": result}
    for number, (source, person) in enumerate(zip(sources, people, strict=True)):
        source.listen(page, number, look, [], [source.image, person, source.message], made)
    blend.change(**made, **_WAIT)


# --------------------------------------------------------------------------------------------------------------- video


def _video_tab(videos: VideoAnswers | None, accept: _Accept) -> None:
    if videos is None:
        gr.Markdown(
            "Videos need a detector of people: start the page with `selfsup3d demo --checkpoint MODEL --detector mediapipe "
            "--detector-weights pose_landmarker_full.task`."
        )
        return
    with gr.Row():
        with gr.Column(scale=2, min_width=260):
            button = gr.UploadButton(
                "Upload a video", file_types=list(VIDEO_SUFFIXES), variant="primary", elem_id="video-upload"
            )
            with gr.Accordion("Record yourself", open=False, elem_id="video-webcam") as fold:
                camera = gr.Video(label="Webcam", include_audio=False, elem_id="video-camera", **_CAMERA)
            gr.Markdown(
                f"One person, seen whole, at most {MAX_SECONDS:.0f} s and {MAX_VIDEO_BYTES // 2**20} MB. Upload only people "
                "who agree to it: the video stays on the machine that serves this page, and is deleted within a day or "
                "when the server stops.",
                elem_id="video-consent",
            )
            message = gr.HTML(
                html_template='<div class="message" role="alert">${value}</div>', visible=False, elem_id="video-message"
            )
            lines = gr.Markdown("", elem_id="video-lines")
        with gr.Column(scale=5, min_width=260), gr.Row():
            skeleton = _skeleton("3D motion, on the ground", viewer.MOVING_HTML, "motion")
            overlay = gr.Video(label="On the video", interactive=False, height=360, elem_id="video-overlay", buttons=[])
    with gr.Row():
        downloads = [
            gr.DownloadButton(kind, size="sm", min_width=70, interactive=False, elem_id=f"video-{kind.lower()}")
            for kind in videos.FILES
        ]
    gr.HTML(
        f"<span style='color:{_colour(LEFT)}'>&#9632;</span> left, <span style='color:{_colour(RIGHT)}'>&#9632;</span> right. "
        f"{html.escape(videos.facts)}. Errors of some centimetres are usual; depth is a guess of one camera.",
        elem_classes="facts",
    )

    def watch(raw: Any, request: gr.Request) -> list[Any]:
        if raw is None:
            return [None, None, "", *[_no_file()] * len(downloads), _told("")]
        try:
            path, name = accept(raw)
            found = videos.watch(path, name, _session(request))
        except InputError as error:
            return [None, None, "", *[_no_file()] * len(downloads), _told(str(error))]
        ready = [gr.update(value=str(path), interactive=True) for path in found.files]
        return [found.motion, str(found.overlay), " ".join(found.lines), *ready, _told("")]

    outputs = [skeleton, overlay, lines, *downloads, message]
    told: dict[str, Any] = {"fn": watch, "outputs": outputs, "preprocess": False, "show_progress_on": [overlay]}
    button.upload(inputs=[button], **told)
    camera.stop_recording(inputs=[camera], **told).then(lambda: (None, gr.update(open=False)), None, [camera, fold])


def _colour(colour: tuple[int, int, int]) -> str:
    return "rgb({}, {}, {})".format(*colour)


# -------------------------------------------------------------------------------------------------------------- pieces


class _Source:
    """Where an image comes from: dropped, chosen from the disk, taken by a webcam, or picked among the shipped ones.

    Args:
        title: above the image. name: of the elements on the page. examples: the shipped ones. accept: see `received`.
    """

    def __init__(self, title: str, name: str, examples: Sequence[Path], accept: _Accept) -> None:
        self.examples, self.accept = examples, accept
        self.image = gr.Image(
            label=title,
            sources=["upload"],
            height=_HEIGHT,
            elem_id=name,
            elem_classes=["square", "source"],
            placeholder="Drop an image of one person here",
            buttons=[],
        )
        self.button = gr.UploadButton(
            "Upload an image", file_types=list(SUFFIXES), size="sm", variant="primary", elem_id=f"{name}-upload"
        )
        with gr.Accordion("Take a picture", open=False, elem_id=f"{name}-webcam") as self.fold:
            self.camera = gr.Image(label="Webcam", elem_id=f"{name}-camera", **_CAMERA)
        self.message = gr.HTML(
            html_template='<div class="message" role="alert">${value}</div>', visible=False, elem_id=f"{name}-message"
        )
        self.gallery = gr.Gallery(
            [str(path) for path in examples],
            show_label=False,
            columns=4,
            height=_SHELF,
            elem_classes="shelf",
            allow_preview=False,
            interactive=False,
            object_fit="cover",
            buttons=[],
            elem_id=f"{name}-examples",
            visible=bool(examples),
        )

    def listen(
        self,
        page: gr.Blocks,
        first: int,
        look: Callable[..., list[Any]],
        inputs: list[Any],
        outputs: list[Any],
        then: dict[str, Any],
    ) -> None:
        """Call `look(file, *inputs)` for every new image, and `then` afterwards.

        What was uploaded reaches `look` as it is: gradio's own reading would end in a traceback on a broken file.

        Args:
            first: the shipped image that is there when the page opens.
        """

        def clicked(event: gr.SelectData) -> str:
            return str(self.examples[int(event.index) % len(self.examples)])

        def taken(raw: Any) -> tuple[Any, Any]:
            return (gr.skip(), gr.skip()) if raw is None else (str(self.accept(raw)[0]), gr.update(open=False))

        def opened() -> str | None:
            return str(self.examples[first % len(self.examples)]) if self.examples else None

        gr.on([self.image.upload, self.image.clear], look, [self.image, *inputs], outputs, preprocess=False).then(
            **then
        )
        self.button.upload(look, [self.button, *inputs], outputs, preprocess=False).then(**then)
        for event in (
            self.gallery.select(clicked, None, self.image),
            self.camera.change(taken, self.camera, [self.image, self.fold], preprocess=False),
            page.load(opened, None, self.image),
        ):
            event.then(look, [self.image, *inputs], outputs, preprocess=False).then(**then)


def _skeleton(label: str, template: str, name: str) -> gr.HTML:
    """A 3D view that the browser draws."""
    return gr.HTML(
        label=label,
        show_label=True,
        container=True,
        html_template=template,
        css_template=viewer.CSS,
        js_on_load=viewer.script(),
        elem_id=name,
        min_width=240,
    )


def _result(title: str, name: str) -> gr.Image:
    return gr.Image(
        label=title,
        interactive=False,
        height=_HEIGHT,
        min_width=240,
        elem_id=name,
        elem_classes="square",
        buttons=["download"],
        format="png",
    )


def _forgetting(answers: Answers, videos: VideoAnswers | None) -> Callable[[gr.Request], None]:
    def forget(request: gr.Request) -> None:
        answers.forget(_session(request))
        if videos is not None:
            videos.results.forget(_session(request))

    return forget


def _session(request: gr.Request) -> str:
    """What tells one open page from another."""
    return str(request.session_hash or "")


def _told(text: str) -> Any:
    return gr.update(value=html.escape(text), visible=bool(text))


def _no_file() -> Any:
    return gr.update(value=None, interactive=False)
